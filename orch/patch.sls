{#
  Patches the operating system of both nodes of a resource, one after the other, each while the other one serves:

    salt-run state.orchestrate orch.patch pillar='{resource: pgdata, home: db1, away: db2, patch: os.patch}'

  home and away are its nodes; it runs on home before and after. patch is an SLS of your own that patches one machine and reboots
  nothing (docs/examples/os/patch.sls is one): orch/reboot.sls reboots it then, if it must, and the resource moves there only when it has
  booted. reboot_by in the pillar is another command for that. Whatever fails ends it there: the resource stays where it is, and status
  says how it is.
#}
{% set resource = pillar['resource'] | json %}
{% set home = pillar['home'] | json %}
{% set away = pillar['away'] | json %}
{% set patch = pillar['patch'] | json %}
{% set how = {'reboot_by': pillar['reboot_by']} if 'reboot_by' in pillar else {} %}

at_home:
  vmdk.active:
    - name: {{ resource }}
    - node: {{ home }}

patch_the_backup:
  salt.state:
    - tgt: {{ away }}
    - sls: {{ patch }}
    - require:
      - vmdk: at_home

reboot_the_backup:
  salt.state:
    - tgt: {{ away }}
    - sls: orch.reboot
    - pillar: {{ how | json }}
    - retry: {attempts: 60, interval: 10}
    - require:
      - salt: patch_the_backup

backup_is_ready_again:
  vmdk.protected:
    - name: {{ resource }}
    - wait: 600
    - require:
      - salt: reboot_the_backup

switch_over:
  vmdk.active:
    - name: {{ resource }}
    - node: {{ away }}
    - require:
      - vmdk: backup_is_ready_again

patch_the_home:
  salt.state:
    - tgt: {{ home }}
    - sls: {{ patch }}
    - require:
      - vmdk: switch_over

reboot_the_home:
  salt.state:
    - tgt: {{ home }}
    - sls: orch.reboot
    - pillar: {{ how | json }}
    - retry: {attempts: 60, interval: 10}
    - require:
      - salt: patch_the_home

home_is_ready_again:
  vmdk.protected:
    - name: {{ resource }}
    - wait: 600
    - require:
      - salt: reboot_the_home

switch_back:
  vmdk.active:
    - name: {{ resource }}
    - node: {{ home }}
    - require:
      - vmdk: home_is_ready_again

{#
  Patches the operating system of two nodes, one after the other, each while the other one serves:

    salt-run state.orchestrate orch.patch pillar='{resource: pgdata, home: db1, away: db2, patch: os.patch}'

  home and away are nodes of the resource; it runs on home before and after. It may be a list of resources. A node is drained before it is
  patched and again before it is rebooted, so nothing else that runs there goes down either: where something cannot leave, it ends there.
  patch is an SLS of your own that patches one machine and reboots nothing (docs/examples/os/patch.sls is one): orch/reboot.sls reboots it
  then, if it must, and the resource moves there only when it has booted. reboot_by in the pillar is another command for that. Whatever
  fails ends it there: the resource stays where it is, and status says how it is.
#}
{% set given = pillar['resource'] %}
{% set resources = ([given] if given is string else given) | json %}
{% set home = pillar['home'] | json %}
{% set away = pillar['away'] | json %}
{% set patch = pillar['patch'] | json %}
{% set how = {'reboot_by': pillar['reboot_by']} if 'reboot_by' in pillar else {} %}

at_home:
  vmdk.active:
    - names: {{ resources }}
    - node: {{ home }}

backup_is_empty:
  vmdk.drained:
    - name: {{ away }}
    - wait: 60
    - require:
      - vmdk: at_home

patch_the_backup:
  salt.state:
    - tgt: {{ away }}
    - sls: {{ patch }}
    - require:
      - vmdk: backup_is_empty

backup_is_still_empty:
  vmdk.drained:
    - name: {{ away }}
    - wait: 60
    - require:
      - salt: patch_the_backup

reboot_the_backup:
  salt.state:
    - tgt: {{ away }}
    - sls: orch.reboot
    - pillar: {{ how | json }}
    - retry: {attempts: 60, interval: 10}
    - require:
      - vmdk: backup_is_still_empty

backup_is_ready_again:
  vmdk.protected:
    - names: {{ resources }}
    - wait: 600
    - require:
      - salt: reboot_the_backup

switch_over:
  vmdk.active:
    - names: {{ resources }}
    - node: {{ away }}
    - require:
      - vmdk: backup_is_ready_again

home_is_empty:
  vmdk.drained:
    - name: {{ home }}
    - wait: 600
    - require:
      - vmdk: switch_over

patch_the_home:
  salt.state:
    - tgt: {{ home }}
    - sls: {{ patch }}
    - require:
      - vmdk: home_is_empty

home_is_still_empty:
  vmdk.drained:
    - name: {{ home }}
    - wait: 60
    - require:
      - salt: patch_the_home

reboot_the_home:
  salt.state:
    - tgt: {{ home }}
    - sls: orch.reboot
    - pillar: {{ how | json }}
    - retry: {attempts: 60, interval: 10}
    - require:
      - vmdk: home_is_still_empty

home_is_ready_again:
  vmdk.protected:
    - names: {{ resources }}
    - wait: 600
    - require:
      - salt: reboot_the_home

switch_back:
  vmdk.active:
    - names: {{ resources }}
    - node: {{ home }}
    - require:
      - vmdk: home_is_ready_again

{#
  Reboots this machine if it must, and succeeds when it has booted. It is applied again and again until then (retry in orch/patch.sls):
  the first time it has the machine reboot soon, leaves a mark in /run, which no boot survives, and fails as long as the mark is there.
  So it does not matter whether the answer of the first time was lost, nor whether salt-minion was restarted in between.

  It must where /run/reboot-required is there, as Debian has it (an SLS that wants a reboot makes that file), or where needs-restarting
  says so, as Red Hat has it. reboot_by in the pillar is another command that reboots it, a few seconds later, so that this can be answered.
#}
{% set mark = '/run/reboot-under-way' %}
{% set must = 'test -e /run/reboot-required || { command -v needs-restarting >/dev/null && ! needs-restarting -r >/dev/null; }' %}

reboot:
  cmd.run:
    - name: {{ pillar.get('reboot_by', 'systemd-run --on-active=3 systemctl reboot') | json }}
    - onlyif: {{ must | json }}
    - unless: test -e {{ mark }}

mark_it:
  file.touch:
    - name: {{ mark }}
    - onchanges:
      - cmd: reboot

booted_since:
  file.missing:
    - name: {{ mark }}
    - require:
      - file: mark_it

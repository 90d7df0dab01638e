# On every node, in the highstate: a shutdown is announced to the master before the services of its resources are stopped.
{% set unit = '/etc/systemd/system/vmdk-shutdown.service' %}

the unit is there:
  file.managed:
    - name: {{ unit }}
    - contents: {{ salt['vmdk.shutdown_unit']() | json }}

systemd knows it:
  cmd.run:
    - name: systemctl daemon-reload
    - onchanges:
      - file: the unit is there

it waits for a shutdown:
  service.running:
    - name: vmdk-shutdown
    - enable: True
    - require:
      - cmd: systemd knows it

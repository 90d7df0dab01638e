# An NFS export on top of a resource: states: {start: [nfs.up, vip.up], stop: [vip.down, nfs.down]}
# The NFS server runs on all nodes; /etc/exports does not name the path, so nothing is exported where it is not mounted.
{% from 'nfs/settings.jinja' import export with context %}

it is exported:
  cmd.run:
    - name: exportfs -o {{ export.options }} {{ export.clients }}:{{ export.path }}
    - onlyif: mountpoint -q {{ export.path }}

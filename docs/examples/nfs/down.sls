{% from 'nfs/settings.jinja' import export with context %}

it is not exported:
  cmd.run:
    - name: exportfs -u {{ export.clients }}:{{ export.path }}
    - onlyif: exportfs | grep -qw {{ export.path }}

# clients that still write keep the file system busy; their locks and handles end here
its locks are given back:
  cmd.run:
    - name: test ! -e /proc/fs/nfsd/unlock_filesystem || echo {{ export.path }} > /proc/fs/nfsd/unlock_filesystem

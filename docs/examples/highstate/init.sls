# On every node, in the highstate: a file on the resource's file system, written where that is mounted and nowhere else.
pgdata:
  vmdk.mounted: []

/srv/pgdata/app.conf:
  file.managed:
    - contents: listen = 10.0.0.100
    - require:
      - vmdk: pgdata
    - onlyif:
      - fun: vmdk.is_active
        args: [pgdata]

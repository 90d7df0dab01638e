# On every node: PostgreSQL is there, with the same numbers of user and group, and looks for its data on the resource, where
# vmdk starts it. Data that is there already is copied first (docs/hierarchy.md): this stops the cluster that the package has made.
# The resource: mountpoint /srv/pgdata, services: [postgresql@15-main]
{% set wanted = salt['pillar.get']('postgresql', {}) %}
{% set version = wanted.get('version', 15) %}
{% set data = wanted.get('data', '/srv/pgdata/%s' % version) %}
{% set etc = '/etc/postgresql/%s/main' % version %}

# before the package, which would take the next number that is free; one that is there already is never changed, but told
its group is the same everywhere:
  group.present:
    - name: postgres
    - gid: {{ wanted.get('gid', 5432) }}
    - unless: getent group postgres

its user is the same everywhere:
  user.present:
    - name: postgres
    - uid: {{ wanted.get('uid', 5432) }}
    - gid: {{ wanted.get('gid', 5432) }}
    - home: /var/lib/postgresql
    - createhome: False
    - shell: /bin/bash
    - require:
      - group: its group is the same everywhere

postgresql is installed:
  pkg.installed:
    - name: postgresql-{{ version }}
    - require:
      - user: its user is the same everywhere

# once, and never while it runs on the resource
the cluster of the package is stopped:
  service.dead:
    - name: postgresql@{{ version }}-main
    - unless: grep -qxF "data_directory = '{{ data }}'" {{ etc }}/postgresql.conf
    - require:
      - pkg: postgresql is installed

its data is on the resource:
  file.replace:
    - name: {{ etc }}/postgresql.conf
    - pattern: ^#?\s*data_directory\s*=.*$
    - repl: data_directory = '{{ data }}'
    - append_if_not_found: True
    - require:
      - service: the cluster of the package is stopped

# vmdk starts it after the mount; at boot there would be nothing to start on
it does not start at boot:
  file.managed:
    - name: {{ etc }}/start.conf
    - contents: manual
    - require:
      - pkg: postgresql is installed

# cp -a keeps the owner; this sees to data that came in another way, and only where it is
its data is its own:
  file.directory:
    - name: {{ data }}
    - user: postgres
    - group: postgres
    - mode: '0700'
    - onlyif: test -e {{ data }}/PG_VERSION
    - require:
      - user: its user is the same everywhere

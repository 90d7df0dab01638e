# On every node, in the highstate: PostgreSQL is there, looks for its data on the resource, and does not start by itself.
# The resource: mountpoint /srv/pgdata, services: [postgresql@15-main]
{% set version = salt['pillar.get']('postgresql:version', 15) %}
{% set data = salt['pillar.get']('postgresql:data', '/srv/pgdata/%s' % version) %}

postgresql is installed:
  pkg.installed:
    - name: postgresql-{{ version }}

its data is on the resource:
  file.replace:
    - name: /etc/postgresql/{{ version }}/main/postgresql.conf
    - pattern: ^#?\s*data_directory\s*=.*$
    - repl: data_directory = '{{ data }}'
    - append_if_not_found: True
    - require:
      - pkg: postgresql is installed

# vmdk starts it after the mount; at boot there would be nothing to start on
it does not start at boot:
  file.managed:
    - name: /etc/postgresql/{{ version }}/main/start.conf
    - contents: manual
    - require:
      - pkg: postgresql is installed

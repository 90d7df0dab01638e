# An address that follows a resource: states: {start: [vip.up], stop: [vip.down]}
# Salt's network.managed would write it into the distribution's files, and every node would have it at its next boot.
{% from 'vip/settings.jinja' import vip with context %}
{% set bare = vip.address.split('/')[0] %}

the address is here:
  cmd.run:
    - name: ip address replace {{ vip.address }} dev {{ vip.dev }}
    - unless: ip -oneline address show dev {{ vip.dev }} to {{ bare }} | grep -q .

# the switches and the neighbours learn at once where it lives now
it is announced:
  cmd.run:
    - name: arping -q -A -c 2 -I {{ vip.dev }} {{ bare }} || arping -q -P -U -c 2 -i {{ vip.dev }} {{ bare }} || true
    - onlyif: command -v arping
    - onchanges:
      - cmd: the address is here

{% from 'vip/settings.jinja' import vip with context %}

the address is gone:
  cmd.run:
    - name: ip address delete {{ vip.address }} dev {{ vip.dev }}
    - onlyif: ip -oneline address show dev {{ vip.dev }} to {{ vip.address.split('/')[0] }} | grep -q .

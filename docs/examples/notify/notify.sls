{# What a minion sends carries its id: only the master's own word is passed on. Each value is quoted. #}
{% if 'id' not in data and 'cmd' not in data and data.get('state') != 'moving' %}
vmdk_notify:
  runner.notify.change:
    - args:
      - sentence: {{ data.get('sentence', '') | string | json }}
      - resource: {{ data.get('resource', '') | string | json }}
      - state: {{ data.get('state', '') | string | json }}
      - protected: {{ (data.get('protected') is sameas true) | json }}
{% endif %}

{# All of the event as one quoted text: notify.change asks whether it is the master's own word before it reads it. #}
{% if data.get('state') != 'moving' %}
vmdk_notify:
  runner.notify.change:
    - args:
      - event: {{ data | json | json }}
{% endif %}

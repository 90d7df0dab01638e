{# An event only makes the next look sooner: every value is a hint, quoted, and none becomes an ID, a target or a function. #}
vmdk_recover:
  runner.vmdk.recover:
    - args:
      - name: {{ (data['data'] if data.get('data') is mapping else data).get('resource', '') | string | json }}
      - wait: false

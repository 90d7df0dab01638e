# A highstate that takes a minute: the scenario busy-highstate runs it while a disk fails.
base:
  '*':
    - busy

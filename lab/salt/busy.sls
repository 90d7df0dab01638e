a_minute_of_work:
  cmd.run:
    - name: sleep 60

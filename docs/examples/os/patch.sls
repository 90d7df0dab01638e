{#
  One machine's packages, brought up to date, for orch/patch.sls; serve it as os/patch.sls. It reboots nothing: that is a step of its
  own there. Keep salt-minion out of it (apt-mark hold salt-minion, or exclude=salt* in dnf.conf): its restart would end this job.
#}
packages_are_up_to_date:
  pkg.uptodate:
    - refresh: True

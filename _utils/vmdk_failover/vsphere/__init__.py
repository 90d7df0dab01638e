"""
vCenter: the only place that knows pyVmomi.

``hypervisor`` implements the port; it stands on ``session`` (login and calls) over ``wire`` (TLS and
deadlines), ``properties`` (reading), ``tasks`` and ``faults`` (writing), ``devices`` and ``sight`` (pure
translation). ``watch`` streams changes, ``inventory`` and ``checks`` serve ``protect`` and ``doctor``.
"""


def preload() -> None:
    """Import all of it, and pyVmomi: for a process from which others are forked."""
    from vmdk_failover.vsphere import claims, hypervisor, watch  # noqa: F401

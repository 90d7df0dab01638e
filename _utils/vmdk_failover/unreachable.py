"""Where a vCenter would be, and none is configured."""

from __future__ import annotations

from typing import Any

from vmdk_failover.errors import ConfigError
from vmdk_failover.model import HypervisorFacts, Resource


class Unreachable:
    """The ``Hypervisor`` port without a usable vCenter configuration: everything is unknown, nothing can be done."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def observe(self, resource: Resource) -> HypervisorFacts:
        return HypervisorFacts(False, self.reason)

    def _refuse(self, *_: Any) -> Any:
        raise ConfigError(self.reason)

    power_off = detach = attach = seal = power_on = _refuse

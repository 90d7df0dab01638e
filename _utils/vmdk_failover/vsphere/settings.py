"""How to reach vCenter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vmdk_failover.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """
    How to reach vCenter (``vmdk:vcenter`` in the master's configuration).

    :param host: name or address, as in vCenter's certificate.
    :param ca_file: PEM file of its CA; ``""``: the system's CAs.
    :param sha256: fingerprint of its certificate; alone it replaces the CA check, with ``ca_file`` both must
        hold.
    :param connect_timeout: seconds to connect.
    :param call_timeout: seconds for one call.
    :param read_deadline: seconds for a read with all its repetitions.
    :param refusal_file: where refused logins are remembered across processes; ``""``: only in this one.
    """

    host: str
    user: str
    password: str = field(repr=False)
    port: int = 443
    ca_file: str = ""
    sha256: str = ""
    connect_timeout: float = 5.0
    call_timeout: float = 30.0
    read_deadline: float = 20.0
    refusal_file: str = ""

    def __post_init__(self) -> None:
        """Refuse what can never work, so that it is found at start and not in a failover."""
        for name in ("host", "user", "password"):
            if not getattr(self, name) or not isinstance(getattr(self, name), str):
                raise ConfigError(
                    f"vcenter: {name} is missing or no text; set it in the master's configuration"
                )
        pin = self.sha256.replace(":", "").strip().lower()
        if pin and (len(pin) != 64 or set(pin) - set("0123456789abcdef")):
            raise ConfigError("vcenter: sha256 is not a SHA-256 fingerprint; it has 64 hex digits")

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Settings:
        """Build settings from configuration; :raises ConfigError: for missing, unknown or unusable keys."""
        try:
            return cls(**plain)
        except (TypeError, AttributeError) as err:
            known = ", ".join(cls.__dataclass_fields__)
            raise ConfigError(
                f"vcenter: its keys must be some of {known}, host, user and password among them"
            ) from err

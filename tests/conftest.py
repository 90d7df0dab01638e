"""
What every test may rely on: the library as file_roots serves it, and the lab, can be imported; and what none may do: touch the
Salt of the machine that it runs on.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

for place in (ROOT, ROOT / "_utils"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

# how long an example takes is the machine's affair, not the code's
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

#: The product's own on this machine, which may be a master: not even to be read. And Salt's: not to be changed.
OURS = ("/var/lib/salt/vmdk", "/etc/salt/vmdk.d")
SALTS = ("/var/lib/salt", "/etc/salt", "/srv/salt", "/var/cache/salt")
_CHANGES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
}
_LOOKS = {"open", "os.listdir", "os.scandir"}
_touched: list[str] = []


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what would touch them, before it is done. Only this process and its forks are seen: a lab has its own /var."""
    if event not in _CHANGES and event not in _LOOKS:
        return
    changes = event in _CHANGES or (event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR)))
    for one in arguments[:2]:
        if isinstance(one, str | os.PathLike) and _is_below(str(one), SALTS if changes else OURS):
            _touched.append(f"{event} {one}")
            raise AssertionError(
                f"a test touches this machine's Salt: {event} {one}; give it a state_dir and a resources_dir"
            )


def _is_below(path: str, places: tuple[str, ...]) -> bool:
    return path.startswith("/") and any(path == one or path.startswith(f"{one}/") for one in places)


sys.addaudithook(_guard)


@pytest.fixture(autouse=True)
def _leaves_the_salt_of_this_machine_alone() -> Iterator[None]:
    """For what has swallowed the guard's word."""
    _touched.clear()
    yield
    assert not _touched, _touched

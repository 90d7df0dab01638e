"""
What of this master itself stands in the way of a failover: its settings, its engine, the places that it writes into. Only looks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from vmdk_failover.app import App, resources_dir, state_dir
from vmdk_failover.channels import hinting
from vmdk_failover.commands import master_settings
from vmdk_failover.finding import ERROR, HINT, WARNING, Found
from vmdk_failover.presence import echo
from vmdk_failover.store import durable

#: Seconds for the engine's answer: a busy one is no dead one, and where none runs that is known at once.
THERE = 3.0


def engine_answers(app: App) -> bool:
    """Whether this master's engine runs, without which nobody watches, and nothing that is appointed is carried out."""
    return hinting.hint(state_dir(app.opts) / "engine.sock", "", THERE) is not None


def findings(app: App) -> Iterator[Found]:
    """Everything about this master but faults of the ``vmdk`` section, which are told by their place."""
    yield from master_settings.findings(app.opts)
    if not engine_answers(app):
        yield Found(
            ERROR,
            "The engine vmdk does not answer: nobody watches vCenter, nobody hears the heartbeats.",
            "Run 'systemctl restart salt-master' and look for 'vmdk' in /var/log/salt/master.",
            code="engine",
        )
    yield from _places(app)
    if not echo.possible():
        yield Found(
            ERROR,
            f"{durable.user()}, as whom this master runs, may send no ICMP echo: a silent node is held (645) and never fenced.",
            "As root: sysctl -w net.ipv4.ping_group_range='0 2147483647', and the same into a file of /etc/sysctl.d.",
            code="echo",
        )
    claims = app.settings.claims
    if claims.startswith("/") and not os.path.isdir(claims):
        words = f"The directory {claims} for claims is not there: no move can begin."
        yield Found(
            ERROR,
            words,
            f"Mount it, the same on every master, or make it: 'mkdir -p {claims}'.",
            code="claims",
        )
    if app.bystander:
        yield Found(HINT, f"{app.bystander}.", "Nothing, if that is meant.", code="bystander")


def _places(app: App) -> Iterator[Found]:
    """What the master writes into, made already or not. A master from Salt's packages does not run as root."""
    wanted = (
        (state_dir(app.opts), ERROR, "state_dir", "no journal can be written, and nodes get no keys"),
        (resources_dir(app.opts), WARNING, "resources_dir", "protect, edit and adopt can write nothing"),
    )
    for place, severity, code, follows in wanted:
        there = next((one for one in (place, *place.parents) if os.path.exists(one)), place)
        if not os.access(there, os.W_OK | os.X_OK):
            words = f"{place} cannot be written by {durable.user()}, as whom this master runs: {follows}."
            yield Found(severity, words, f"Run '{durable.given(place)}' as root.", code=code)

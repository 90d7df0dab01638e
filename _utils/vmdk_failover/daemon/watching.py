"""
The master's eye on vCenter: changes of protected VMs become hints, one resource at a time.

A hint only makes the next look sooner. The stream may break and come back; every new stream begins with a hint for every
resource, because what happened in between is not told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from vmdk_failover.app import App, state_dir
from vmdk_failover.commands import panorama
from vmdk_failover.errors import FailoverError
from vmdk_failover.model import Resource
from vmdk_failover.presence.lookout import stream_begins_anew

if TYPE_CHECKING:
    from vmdk_failover.vsphere.watch import VmChange, Watch

#: Seconds one wait for changes lasts; also how soon a new or changed resource is watched.
WAIT = 5.0
#: A question that broke after longer than this (seconds) found nobody there: vCenter was out of reach for that long.
DARK = 2 * WAIT
#: Pause after a broken stream (seconds).
PAUSE = 1.0
LONGEST_PAUSE = 30.0
#: Kinds of change that are worth a look; others (a new changeVersion by itself) mean nothing.
WORTH = frozenset({"power", "connection", "devices", "snapshot", "gone", "heartbeat", "question"})

Hint = Callable[[str, str, str, str], None]


def watch_for_ever(app: App, hint: Hint) -> None:
    """
    Watch until the process is ended.

    :param hint: called with the resource's name, what happened (``power``, ``devices``, …, or ``watching`` at the start), the
        node whose VM it happened to, and vCenter's word for it (``poweredOff``); the last two are empty if there is none.
    """
    pause, told = PAUSE, ""
    dark: bool | None = None
    while True:
        try:
            _watch_once(app, hint, dark)
            pause, told, dark = PAUSE, "", None
        except FailoverError as err:
            if err.reason != told:
                app.warn(f"vCenter is not watched: {err.reason}")
            told, dark = err.reason, not isinstance(err, _Ended)
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        app.__dict__.pop("settings", None)


class _Ended(FailoverError):
    """A stream that was there a moment ago has ended."""


def _watch_once(app: App, hint: Hint, dark: bool | None) -> None:
    """
    Watch the resources as they are configured now, until that changes or the stream breaks.

    :param dark: how the last stream broke: whether vCenter could not be watched since; ``None``: it did not.
    """
    from vmdk_failover.vsphere.watch import Watch

    resources = dict(app.settings.resources)
    if not resources or app.settings.vcenter is None:
        time.sleep(WAIT / 5)
        return
    owners, refs = _whom(app, resources)
    stream = Watch(app.session, refs)
    if dark is not None:
        stream_begins_anew(state_dir(app.opts), dark)
    try:
        for name in resources:
            hint(name, "watching", "", "")
        while True:
            changes = _next(stream)
            app.announce.counts.add("vcenter_watch")
            app.announce.calls(app.session)
            for minion, change in changes:
                if change.kind in WORTH:
                    for name in owners.get(minion, ()):
                        hint(name, change.kind, minion, change.value)
            app.__dict__.pop("settings", None)
            if dict(app.settings.resources) != resources:
                return
    finally:
        stream.close()


def _next(stream: Watch) -> list[tuple[str, VmChange]]:
    began = time.monotonic()
    try:
        return stream.wait(WAIT)
    except FailoverError as err:
        if time.monotonic() - began > DARK:
            raise
        raise _Ended(err.reason, err.code) from err


def _whom(app: App, resources: Mapping[str, Resource]) -> tuple[dict[str, set[str]], dict[str, str]]:
    """Which resources each node may hold, and its VM's id; nodes whose VM is not there are left to the tick."""
    owners: dict[str, set[str]] = {}
    refs: dict[str, str] = {}
    for name, seen in panorama.read(app, resources).items():
        for vm in seen.vms:
            owners.setdefault(vm.minion, set()).add(name)
            if vm.ref:
                refs[vm.minion] = vm.ref
    return owners, refs

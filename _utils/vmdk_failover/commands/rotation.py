"""``rotate_keys``: a new secret of the master, and with it a new key for each node, while everything goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmdk_failover.app import App
from vmdk_failover.errors import FailoverError

#: Seconds for the nodes to fetch their pillar.
FETCH = 12.0


def rotate_keys(app: App, test: bool = False) -> dict[str, Any]:
    """
    Begin to change the keys, or go on with it. It ends by itself when every node has spoken under its new key.

    :param test: only say what would begin, and who would be waited for.
    :return: ``changed`` (the old keys count no more) and ``waiting_for``, nodes that have not spoken under their new key.
    """
    minions = app.minions
    began = not app.keys.changing
    if test:
        waiting = sorted(minions) if began else app.keys.waiting_for(minions)
        return {"changed": False, "began_now": began, "waiting_for": waiting, "test": True}
    if began:
        app.keys.begin()
    _fetch(app, minions)
    _ask(app)
    changed = app.keys.end(minions)
    if changed:
        _fetch(app, minions)  # so that they forget the old ones too
    return {"changed": changed, "began_now": began, "waiting_for": app.keys.waiting_for(minions)}


def _fetch(app: App, minions: list[str]) -> Mapping[str, Any]:
    if not minions:
        return {}
    wanted = {"wait": True, "timeout": 10}
    return app.call.ask(minions, "saltutil.refresh_pillar", wanted, FETCH, lambda *_: True)


def _ask(app: App) -> None:
    for resource in app.settings.resources.values():
        try:
            app.guest.ask(resource, [node.minion for node in resource.nodes])
        except FailoverError:
            continue  # who does not answer is waited for

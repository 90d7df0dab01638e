"""
A node's heartbeats: signed, with a number that rises through the whole boot, one a second.

The engine sends them over a channel of its own; the beacon does so only while no engine has sent one for some seconds. The
beacon knows the node's key from the pillar and leaves it, for root alone, where the engine finds it. Touches no disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import vmdk_failover
from vmdk_failover import signing
from vmdk_failover.guest.places import HERE, boot_clock, read

TAG, RENAMED_TAG = "vmdk-heartbeat/", "vmdk-renamed/"
EVERY = 1.0
#: Seconds between two words of a minion that has another id than when the node booted.
RENAMED_EVERY = 5.0
#: Without a heartbeat of the engine for so long (seconds) the beacon sends them.
ENGINE_QUIET = 2.5
_KEY, _SENT = "heartbeat.key", "heartbeat.sent"
#: Under which id, and with which key, the engine has spoken last; and before it got another id.
_TOLD, _WAS = "heartbeat.told", "heartbeat.was"


def heartbeat(minion: str, key: str, address: str, purpose: str = signing.ALIVE) -> dict[str, Any]:
    """One heartbeat, signed. ``address`` is where this node can be asked whether it lives."""
    uptime = boot_clock()
    body = {
        "minion": minion,
        "boot_id": read(HERE.boot_id) or "",
        "seq": int(uptime * 1000),
        "uptime": round(uptime, 3),
        "address": address,
        "version": vmdk_failover.__version__,
    }
    return signing.sign_heartbeat(key, body, purpose)


def own_address(opts: Mapping[str, Any]) -> str:
    """The address by which this node reaches its master, unless ``vmdk: {address: …}`` says another; sends nothing."""
    configured = (opts.get("vmdk") or {}).get("address")
    if configured:
        return str(configured)
    master = str(opts.get("master_ip") or "")
    if not master:
        return ""
    with contextlib.suppress(OSError):
        kind = socket.AF_INET6 if ":" in master else socket.AF_INET
        with socket.socket(kind, socket.SOCK_DGRAM) as line:
            line.connect((master, 4506))
            return str(line.getsockname()[0])
    return ""


class Pulse:
    """The engine's side: what is to be sent, and when."""

    def __init__(self, state_dir: Path, minion: str, clock: Callable[[], float] = boot_clock) -> None:
        self._dir, self._minion, self._clock = state_dir, minion, clock
        self._next = self._again = float("-inf")
        self._key = ""
        self._told = self._remembered(_TOLD)
        if self._told and self._told["minion"] != minion:
            self._is_renamed()

    @property
    def key(self) -> str:
        """The node's key with which the last heartbeat was signed; ``""`` if there was none."""
        return self._key

    def left(self) -> float:
        """Seconds until the next heartbeat."""
        return min(EVERY, max(0.0, self._next - self._clock()))

    def due(self, opts: Mapping[str, Any]) -> dict[str, Any] | None:
        """The heartbeat to be sent now, if its time has come and the key is known."""
        now = self._clock()
        if now < self._next:
            return None
        self._next = now + EVERY
        self._key = read(self._dir / _KEY) or ""
        return heartbeat(self._minion, self._key, own_address(opts)) if self._key else None

    def sent(self) -> None:
        """It has reached the master."""
        with contextlib.suppress(OSError):  # then the beacon sends too
            _replace(self._dir / _SENT, json.dumps(self._clock()))
            told = {"minion": self._minion, "key": self._key}
            if self._key and told != self._told:
                _replace(self._dir / _TOLD, json.dumps(told))
                self._told = told

    def renamed(self) -> dict[str, Any] | None:
        """
        The word, in the old name and with its key, that this node's minion has another id since; its address is the new id. Only
        the node that had the key can say so: nobody else may keep a master from a failover.
        """
        now = self._clock()
        if now < self._again:
            return None
        self._again = now + RENAMED_EVERY
        was = self._remembered(_WAS)
        return heartbeat(was["minion"], was["key"], self._minion, signing.RENAMED) if was else None

    def _is_renamed(self) -> None:
        """The key that is here was given to another id. With the node's boot all of this is over."""
        was = self._remembered(_WAS)
        with contextlib.suppress(OSError):  # then nobody is told
            if was and was["minion"] == self._minion:
                os.unlink(self._dir / _WAS)  # it has its id back
            if was:
                os.unlink(self._dir / _TOLD)
            else:
                os.rename(self._dir / _TOLD, self._dir / _WAS)
        with contextlib.suppress(OSError):
            os.unlink(self._dir / _KEY)  # the master gives it one of its own
        self._told = {}

    def _remembered(self, name: str) -> dict[str, str]:
        try:
            plain = json.loads(read(self._dir / name) or "{}")
            return {key: str(plain[key]) for key in ("minion", "key")}
        except (ValueError, KeyError, TypeError):
            return {}


def of_beacon(
    state_dir: Path,
    opts: Mapping[str, Any],
    pillar: Mapping[str, Any],
    clock: Callable[[], float] = boot_clock,
) -> dict[str, Any] | None:
    """The heartbeat that the beacon is to send: none while an engine does."""
    key = str((pillar.get("vmdk") or {}).get("key") or "")
    if not key:
        return None
    keep_key(state_dir, key)
    try:
        sent = float(read(state_dir / _SENT) or "-inf")
    except ValueError:
        sent = float("-inf")
    return None if 0 <= clock() - sent < ENGINE_QUIET else heartbeat(str(opts["id"]), key, own_address(opts))


def keep_key(state_dir: Path, key: str) -> None:
    """Leave the node's key where the engine finds it."""
    if key and read(state_dir / _KEY) != key:
        with contextlib.suppress(OSError):  # then the engine sends none
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(state_dir / _KEY, key)


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(fresh, path)

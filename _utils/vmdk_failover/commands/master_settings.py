"""
What of the master's own configuration stands in the way of a failover, or makes it slower than it could be. Pure but for a look
at the files: is the reactor's there, and is a list left out?
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vmdk_failover.finding import ERROR, HINT, WARNING, Found

CONF = "/etc/salt/master.d/vmdk.conf"
#: Seconds: the reactor reads its files anew so often, and each time costs the next event some 0.3 s.
REFRESH = 300.0
#: Of the reactor's threads one is taken for as long as a call of it lasts.
THREADS = 10
#: Lists that others write into as well.
LISTS = ("engines", "ext_pillar", "reactor")
#: Tags that the nodes' reports and the master's own conditions come under, as examples.
TAGS = ("salt/beacon/db1/vmdk/pgdata/unmounted", "vmdk/pgdata/silent")


def findings(opts: Mapping[str, Any]) -> Iterator[Found]:
    """Everything about the master's options."""
    yield from _parts(opts)
    yield from _reactor(opts)
    yield from _left_out(opts)
    for key in ("auto_accept", "open_mode"):
        if opts.get(key):
            yield Found(
                WARNING,
                f"{key} is on: whoever reaches this master becomes the node whose name it gives itself.",
                f"Set '{key}: False' in {CONF} and restart the master; accept keys with 'salt-key -a'.",
            )


def _parts(opts: Mapping[str, Any]) -> Iterator[Found]:
    if not _names(opts.get("engines"), "vmdk"):
        yield Found(
            ERROR,
            "The engine vmdk is not configured: nobody watches vCenter and the heartbeats.",
            f"Add 'engines: [{{vmdk: {{}}}}]' to {CONF} and restart the master.",
        )
    if not _names(opts.get("ext_pillar"), "vmdk"):
        yield Found(
            ERROR,
            "The external pillar vmdk is not configured: nodes get neither their resources nor their key.",
            f"Add 'ext_pillar: [{{vmdk: {{}}}}]' to {CONF}, restart the master, run 'salt \\* saltutil.refresh_pillar'.",
        )


def _names(parts: Any, name: str) -> bool:
    listed = parts if isinstance(parts, (list, tuple)) else [parts]
    return any(name in part for part in listed if isinstance(part, (Mapping, str)))


def _reactor(opts: Mapping[str, Any]) -> Iterator[Found]:
    rules = [pair for one in opts.get("reactor") or () if isinstance(one, Mapping) for pair in one.items()]
    for tag in TAGS:
        files = [str(file) for pattern, told in rules if _fits(tag, str(pattern)) for file in _listed(told)]
        if not any("vmdk" in file for file in files):
            yield Found(
                WARNING,
                f"The reactor does not listen to events like {tag}; only the engine hears them.",
                f"Add the two lines of 'reactor' from docs/quickstart.md to {CONF} and restart the master.",
            )
        for file in files:
            if file.startswith("/") and not os.path.exists(file):
                yield Found(
                    ERROR,
                    f"The reactor's file {file} is not there.",
                    f"Put it there, or mend reactor in {CONF}.",
                )
    if rules and float(opts.get("reactor_refresh_interval") or 60) < REFRESH:
        yield Found(
            HINT,
            "The reactor forgets its files once a minute; the first event after that takes some 0.3 s longer.",
            f"Set 'reactor_refresh_interval: 3600' in {CONF} and restart the master.",
        )
    if rules and int(opts.get("reactor_worker_threads") or THREADS) < THREADS:
        yield Found(
            WARNING,
            f"The reactor has {opts['reactor_worker_threads']} threads; other reactions can keep a failover waiting.",
            f"Set 'reactor_worker_threads: {THREADS}' in {CONF} and restart the master.",
        )


def _left_out(opts: Mapping[str, Any]) -> Iterator[Found]:
    """Lists of the configuration's main file that it lacks, because a file beside it has one of that name."""
    conf = str(opts.get("conf_file") or "")
    beside = glob.glob(os.path.join(os.path.dirname(conf), str(opts.get("default_include") or "")))
    for key in sorted(_lists(conf)):
        other = next((path for path in sorted(beside) if key in _lists(path)), "")
        if other:
            place = os.path.dirname(other)
            yield Found(
                WARNING,
                f"{key} of {conf} is left out, because {other} has one too: Salt joins only those in {place}.",
                f"Move it into a file there, for example {place}/more.conf, and restart the master.",
            )


def _lists(path: str) -> set[str]:
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        return set(re.findall(rf"^({'|'.join(LISTS)})[ \t]*:", file.read(), re.MULTILINE))
    return set()


def _fits(tag: str, pattern: str) -> bool:
    import fnmatch

    return fnmatch.fnmatch(tag, pattern)


def _listed(told: Any) -> Sequence[Any]:
    return told if isinstance(told, (list, tuple)) else [told]

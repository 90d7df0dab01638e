"""
The page of an incident, from what the master has kept: history, sightings, settings. Works long after, and without any event.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vmdk_failover import __version__
from vmdk_failover.app import App, state_dir
from vmdk_failover.errors import Refused
from vmdk_failover.store import durable, sightings
from vmdk_failover.views import incident, page
from vmdk_failover.views.drawing import safe

FOLDER = "reports"
#: A shorter secret is not looked for: it would be found everywhere.
SECRET = 6


def report(app: App, name: str, epoch: object = 0, path: str = "") -> dict[str, Any]:
    """
    Write the page.

    :param epoch: number of the move; ``0``: the last one.
    :param path: file, or directory; below ``state_dir`` if empty.
    :return: ``path``, ``epoch``, ``result`` and one ``sentence``.
    :raises Refused: ``epoch`` is no number, no such move is known, or the file cannot be written.
    """
    history = app.journal.history(name)
    known = incident.epochs(history)
    if not isinstance(epoch, int):
        raise Refused(f"epoch must be the number of a move, not {epoch!r}")
    wanted = epoch or (known[-1] if known else 0)
    place = state_dir(app.opts)
    seen = sightings.read(place, name, 0.0, float("inf")) if known else []
    found = incident.read(history, seen, wanted)
    if found is None:
        raise Refused(_unknown(app, name, wanted, known))
    moment = app.clock.wall()
    at = page.moment(moment, "%d %b %Y %H:%M:%S")
    made = f"saltext-vmdk {__version__}, made on {app.master} at {at} UTC. All times are UTC."
    target = _target(path, place / FOLDER, f"{name}-{wanted}.html")
    _write(target, _without_secrets(app, page.page(found, made)))
    words = f"{found.kind} of {name} to {found.target}, epoch {wanted}: {found.result} – {found.words}"
    return {"path": str(target), "epoch": wanted, "result": found.result, "sentence": words}


def _unknown(app: App, name: str, wanted: int, known: list[int]) -> str:
    if not known and name not in app.settings.resources:
        return f"there is no resource called {name!r}; known are: {', '.join(sorted(app.settings.resources)) or 'none'}"
    if not known:
        return f"there is nothing to report of {name}: its history knows of no move; 'salt-run vmdk.history {name}' shows it"
    some = ", ".join(map(str, known[-10:]))
    return f"the history of {name} knows of no move with epoch {wanted}; the last ones are {some}"


def _target(path: str, folder: Path, name: str) -> Path:
    if not path:
        return folder / name
    wanted = Path(path)
    if not wanted.is_absolute():
        raise Refused(f"path must be absolute, not {path!r}: salt-run does not know where you are")
    return wanted / name if wanted.is_dir() else wanted


def _write(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.write(target, text.encode())
    except OSError as err:
        raise Refused(f"the report cannot be written to {target}: {err.strerror}") from err


def _without_secrets(app: App, text: str) -> str:
    """No secret has a way into the history; if one was put into a sentence all the same, it ends here."""
    at = app.settings.vcenter
    for secret in filter(None, (at.password if at else "", app.keys.secret().hex())):
        if len(secret) >= SECRET:
            text = text.replace(secret, "•••").replace(safe(secret), "•••")
    return text

"""
The configuration as it lies on the master: Salt's options, the files of ``resources_dir``, and each resource's last good version.

A resource whose configuration is broken keeps its last good version, and a fault says so; it never affects another one. Where the
file or the entry is deleted the resource is gone; a folder in which nothing at all is left is taken for a mount that is missing,
until a person says otherwise. The last good versions lie in ``state_dir``, mode 0600.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vmdk_failover.errors import ConfigError
from vmdk_failover.journal import FileJournal
from vmdk_failover.judgement import config
from vmdk_failover.judgement.config import Fault, Settings
from vmdk_failover.model import Resource, to_plain
from vmdk_failover.presence import heard

STATE_DIR = "/var/lib/salt/vmdk"
RESOURCES_DIR = "/etc/salt/vmdk.d"
LAST_GOOD = "last-good.json"


@dataclass
class _Written:
    """
    What is written where.

    :param bodies: bodies of resources by name, with the place that each comes from: ``file`` or ``section``.
    :param broken: names whose file cannot be understood.
    :param unread: places that could not be read, so that what is not found there need not be gone.
    """

    bodies: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)


#: Seconds for which a file may change without its times saying so.
_BLUR_S = 1.0
#: A file by which a person says that no resource is left; any other would do.
EMPTY = ".empty"


@dataclass(frozen=True)
class _Remembered:
    """Settings, and of what they were made: the section as it was, and which files there were."""

    section: Any
    seal: object
    settings: Settings


_remembered: _Remembered | None = None


def settings(opts: Mapping[str, Any]) -> Settings:
    """
    Read the product's configuration from the master's options and from ``resources_dir``. What has not changed is not read
    again: a hundred movers of one storm would read all resources each.

    :param opts: Salt's options.
    :return: what could be understood or is kept from before, with all faults.
    """
    global _remembered
    section, before = opts.get("vmdk"), _seal(opts)
    if _remembered is not None and _remembered.seal == before is not None and _remembered.section == section:
        return _remembered.settings
    found = _settings(opts, section)
    after = _seal(opts)
    _remembered = None if after is None else _Remembered(deepcopy(section), after, found)
    return found


def _seal(opts: Mapping[str, Any]) -> object | None:
    """What tells whether a file has changed; ``None`` if one has changed so lately that its times would not tell."""
    places = [resources_dir(opts), state_dir(opts) / LAST_GOOD]
    with contextlib.suppress(OSError):
        places += _files(places[0])
    stats = [_stat(path) for path in places]
    latest = max((one[1] for one in stats if one is not None), default=0)
    return None if time.time() - latest / 1e9 < _BLUR_S else (tuple(map(str, places)), tuple(stats))


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode


def _settings(opts: Mapping[str, Any], section: Any) -> Settings:
    if section is None:
        return config.parse({})
    written = _Written()
    if isinstance(section, Mapping):
        _read_section(section, written)
        _read_files(resources_dir(opts), written, state_dir(opts))
        found = config.parse({**section, "resources": written.bodies})
    else:
        written.unread |= {"section", "file"}
        found = config.parse(section)
    found = replace(found, faults=(*found.faults, *written.faults))
    return _with_last_good(found, written, state_dir(opts))


def names(opts: Mapping[str, Any]) -> set[str]:
    """
    Names of all resources, sound or not, without reading their files: asked at every hint. One that was taken out of the
    configuration in mid-move is among them until its move has ended.
    """
    section = opts.get("vmdk")
    written = section.get("resources") if isinstance(section, Mapping) else None
    files, folder = set[str](), resources_dir(opts)
    with contextlib.suppress(OSError):
        files = {path.stem for path in _files(folder)}
    if not files and _is_bare(folder):
        files = _of_files(state_dir(opts))
    inside = map(str, written if isinstance(written, Mapping) else ())
    return {*FileJournal(state_dir(opts) / "journal").open_moves(), *inside, *files}


def resources_dir(opts: Mapping[str, Any]) -> Path:
    """Where ``protect`` writes one file per resource."""
    return Path(str(_option(opts, "resources_dir") or RESOURCES_DIR))


def state_dir(opts: Mapping[str, Any]) -> Path:
    """Where the master keeps the journal, locks and its secret; below Salt's ``root_dir`` unless configured."""
    configured = _option(opts, "state_dir")
    return (
        Path(str(configured))
        if configured
        else Path(str(opts.get("root_dir") or "/")) / STATE_DIR.lstrip("/")
    )


def _option(opts: Mapping[str, Any], name: str) -> Any:
    section = opts.get("vmdk")
    return section.get(name) if isinstance(section, Mapping) else None


def _of_files(place: Path) -> set[str]:
    """Names of the last good versions that came from files."""
    return {name for name, one in _stored(place).items() if one["place"] == "file"}


def _is_bare(folder: Path) -> bool:
    """Nothing at all lies there, or that cannot be seen."""
    try:
        return not os.listdir(folder)
    except OSError:
        return True


def _files(folder: Path) -> list[Path]:
    return sorted(folder / name for name in os.listdir(folder) if name.endswith(".yaml") and name[0] != ".")


def _read_section(section: Mapping[str, Any], written: _Written) -> None:
    inside = section.get("resources") or {}
    if not isinstance(inside, Mapping):
        written.faults.append(Fault("vmdk.resources", "must be a mapping"))
        written.unread.add("section")
        return
    written.bodies.update({str(name): body for name, body in inside.items()})
    written.places.update(dict.fromkeys(written.bodies, "section"))


def _read_files(folder: Path, written: _Written, place: Path) -> None:
    try:
        files = _files(folder)
    except OSError as err:
        written.unread.add("file")
        if not isinstance(err, FileNotFoundError) or _of_files(place):
            reason = f"{folder} cannot be read: {err.strerror}"
            written.faults.append(Fault("vmdk.resources_dir", reason))
        return
    if not files and _is_bare(folder) and (gone := _of_files(place)):
        written.unread.add("file")
        reason = (
            f"{folder} is empty, and {', '.join(sorted(gone))} stood there; mount what belongs there or bring the files back. If "
            f"you have taken the last one out yourself, say so with 'touch {folder / EMPTY}'"
        )
        written.faults.append(Fault("vmdk.resources_dir", reason))
    for path in files:
        written.places[path.stem] = "file"
        try:
            written.bodies[path.stem] = _yaml(path)
        except ConfigError as err:
            written.faults.append(Fault(f"resources.{path.stem}", err.reason, path.stem))
            written.bodies.pop(path.stem, None)
            written.broken.add(path.stem)


def _yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ConfigError(f"{path} cannot be read: {err.strerror}") from err
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as err:
        mark = getattr(err, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line} is not valid YAML; mend it") from err


def _with_last_good(found: Settings, written: _Written, place: Path) -> Settings:
    """Fill up what is broken now by what was good before, and remember what is good now."""
    stored = _stored(place)
    unread = {name for name, one in stored.items() if one["place"] in written.unread}
    kept: dict[str, Resource] = {}
    faults = list(found.faults)
    for name in sorted({*written.bodies, *written.broken, *unread} - set(found.resources)):
        at = f"resources.{name}"
        if not any(f.resource == name or f.where == at for f in faults):
            faults.append(
                Fault(at, "is not found, because the configuration cannot be read as a whole", name)
            )
        resource = config.parse_resource(name, stored[name]["body"])[0] if name in stored else None
        if resource is None:
            continue
        words = _unusable({**found.resources, **kept}, resource)
        if not words:
            kept[name] = resource
        faults.append(Fault(at, words or "its last good version is used until that is mended", name))
    _store(place, stored, {**kept, **found.resources}, written)
    return replace(found, resources={**found.resources, **kept}, faults=tuple(faults), kept=tuple(kept))


def _store(
    place: Path, before: Mapping[str, Any], resources: Mapping[str, Resource], written: _Written
) -> None:
    good = {
        name: {
            "place": written.places.get(name) or before[name]["place"],
            "body": to_plain(config.to_body(resource)),
        }
        for name, resource in resources.items()
    }
    # one that is broken and collides now may be good again later
    good.update(
        {n: one for n, one in before.items() if n in written.broken | set(written.bodies) and n not in good}
    )
    if good != before:
        with contextlib.suppress(OSError):  # then there is none to fall back on
            heard.write_plain(place / LAST_GOOD, good)


def _unusable(others: Mapping[str, Resource], resource: Resource) -> str:
    """Why a last good version cannot be used beside the others; empty if it can."""
    found = config.collisions({**others, resource.name: resource})
    reasons = [fault.reason for name, fault in found if name == resource.name]
    return f"its last good version cannot be used either: {reasons[0]}" if reasons else ""


def _stored(place: Path) -> dict[str, Any]:
    """Last good versions by name: ``place`` (``file`` or ``section``) and ``body``."""
    found = heard.read_plain(place / LAST_GOOD)
    return {n: one for n, one in found.items() if isinstance(one, dict) and {"place", "body"} <= set(one)}

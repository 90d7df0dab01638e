"""Two versions of this extension, or of Salt, that meet: which is the older one, and how it is brought up to date."""

from __future__ import annotations

import sys

from vmdk_failover import __version__


def number(version: object) -> tuple[int, ...]:
    """A version to compare; one that cannot be read counts as the newest, so that nothing is ended or changed for it."""
    try:
        return tuple(int(part) for part in str(version).split("."))
    except ValueError:
        return (sys.maxsize,)


def difference(minion: str, version: object, here: str = __version__) -> tuple[str, str] | None:
    """
    What is to be said of a node.

    :param version: what it says it has; anything false for one that does not say so yet.
    :param here: the master's own.
    :returns: what is wrong and what to do, a sentence each; ``None`` if both have the same version.
    """
    if version == here:
        return None
    what = f"The extension is of version {version or 'an older one'} on {minion}, of {here} on this master."
    if version and number(version) > number(here):
        return (
            what,
            "Run 'salt-run saltutil.sync_all' (or install the same package here) and restart salt-master.",
        )
    return what, f"Run 'salt {minion} saltutil.sync_all' (or install the same package there)."


def of_salt(minion: str, version: object, here: str) -> tuple[str, str] | None:
    """
    The same of Salt itself.

    :param version: what the node says it has; anything false if it does not say so.
    :param here: the master's own; ``""`` if that is not known.
    """
    if not here or not version or version == here:
        return None
    what = f"Salt is of version {version} on {minion}, of {here} on this master."
    return what, "Bring both to one version, the master first."

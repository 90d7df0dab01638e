"""Two versions of this extension, of Salt or of Linux that meet: which is the older one, and what to do about it."""

from __future__ import annotations

import re
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


def of_kernel(minion: str, release: object, holder: str, holders: object) -> tuple[str, str] | None:
    """
    The same of Linux on a backup. File systems gain features with a kernel's first two numbers, the rest is the distribution's.

    :param release: the backup's, such as ``5.10.0-28-amd64``; anything false if it does not say so.
    :param holder: the node that has the disk. :param holders: its release.
    :returns: what is wrong and what to do; ``None`` if the backup's is not older, or one of them is not known.
    """
    old, new = _series(release), _series(holders)
    if not old or not new or old >= new:
        return None
    what = (
        f"Linux is older on {minion} ({release}) than on {holder} ({holders}), which has the disk: a file system that uses what "
        f"is newer may be refused on {minion}, or be refused only after a crash, while a clean switchover works."
    )
    return what, f"Bring {minion} to the kernel of {holder}."


def _series(release: object) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", str(release or ""))
    return (int(found[1]), int(found[2])) if found else ()

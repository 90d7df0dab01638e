"""Where Salt finds the files that it loads, when the library was installed with pip.

The entry point ``salt.loader`` of the wheel names :func:`dirs`. With file_roots and ``saltutil.sync_all``
nobody asks: Salt has copied the files to places of its own.
"""

from pathlib import Path

FACES = ("modules", "states", "beacons", "runners", "engines", "pillar", "output")


def dirs() -> dict[str, list[str]]:
    """Return Salt's kind of file (``modules``, ``states``, …) → the directories that hold such files.

    In a wheel they lie in the package (``vmdk_failover/modules``), in an editable install in the source tree
    (``_modules`` beside ``_utils``). A kind without a directory is left out.
    """
    package = Path(__file__).resolve().parent
    found = {face: _directory(package, face) for face in FACES}
    return {face: [str(directory)] for face, directory in found.items() if directory}


def _directory(package: Path, face: str) -> Path | None:
    candidates = (package / face, package.parent.parent / f"_{face}")
    return next((directory for directory in candidates if directory.is_dir()), None)

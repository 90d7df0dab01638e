"""The node's engine ends when, and only when, another version of it has arrived whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from vmdk_failover.guest.renewal import SETTLED_S, Renewal


@dataclass
class Place:
    """The library's and the engine's file, and a clock that the test sets."""

    library: Path
    engine: Path
    now: float = 100.0

    def bring(self, *, library: str = "", engine: str = "") -> None:
        """Replace a file, as a sync does."""
        for path, word, version in ((self.library, "__version__", library), (self.engine, "_WANT", engine)):
            if version:
                fresh = path.with_suffix(".new")
                fresh.write_text(f'"""A file."""\n\n{word} = "{version}"\n')
                fresh.replace(path)

    def is_due_after(self, renewal: Renewal, seconds: float) -> bool:
        """What it says after so many seconds in which it is asked once a second."""
        said = [renewal.is_due()]
        for _ in range(int(seconds)):
            self.now += 1.0
            said.append(renewal.is_due())
        return any(said)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "__init__.py", tmp_path / "vmdk.py")
    made.bring(library="1.0", engine="1.0")
    return made


@pytest.fixture
def renewal(place: Place) -> Renewal:
    return Renewal(place.library, place.engine, version="1.0", clock=lambda: place.now)


def test_not_while_nothing_is_replaced(place: Place, renewal: Renewal) -> None:
    assert not place.is_due_after(renewal, 60)


@pytest.mark.parametrize("version", ["1.1", "0.9"])
def test_when_another_version_is_there_whole_and_has_settled(
    place: Place, renewal: Renewal, version: str
) -> None:
    place.bring(library=version, engine=version)
    assert not place.is_due_after(renewal, SETTLED_S - 1)
    assert place.is_due_after(renewal, 1)


def test_not_before_both_files_are_of_the_new_version(place: Place, renewal: Renewal) -> None:
    place.bring(library="1.1")
    assert not place.is_due_after(renewal, 60)
    place.bring(engine="1.1")
    assert place.is_due_after(renewal, SETTLED_S)


def test_the_time_begins_anew_with_each_file_that_comes(place: Place, renewal: Renewal) -> None:
    place.bring(library="1.1", engine="1.1")
    assert not place.is_due_after(renewal, SETTLED_S - 1)
    place.bring(library="1.2")
    assert not place.is_due_after(renewal, SETTLED_S - 1)


def test_not_for_the_same_version_written_again(place: Place, renewal: Renewal) -> None:
    place.bring(library="1.0", engine="1.0")
    assert not place.is_due_after(renewal, 60)


def test_not_while_files_are_missing_or_say_nothing(place: Place, renewal: Renewal) -> None:
    place.library.unlink()
    place.engine.unlink()
    assert not place.is_due_after(renewal, 60)
    place.library.write_text("rubbish\n")
    place.engine.write_text("rubbish\n")
    assert not place.is_due_after(renewal, 60)

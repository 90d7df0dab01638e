"""The guest's image is the same whenever it is made: how two are compared, and what of this machine must not get into one."""

from __future__ import annotations

import shutil
import stat
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lab.cell import LabError
from lab.guest import __main__ as command
from lab.guest import again, salt_tree, vm

PACKAGES = "udev 252.1\nsalt 3008.5\n"


def image(folder: Path, root: bytes = b"r" * 3_000_000, packages: str = PACKAGES) -> Path:
    """What image.sh leaves."""
    folder.mkdir()
    for name in again.PARTS:
        (folder / name).write_bytes(root if name == "root.raw" else name.encode())
    (folder / "packages").write_text(packages, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("changed", "at"),
    [
        (b"r" * 3_000_000, None),
        (b"r" * 2_000_000 + b"x" + b"r" * 999_999, 2_000_000),
        (b"x" + b"r" * 2_999_999, 0),
        (b"r" * 2_999_999, 2_999_999),
        (b"r" * 3_000_001, 3_000_000),
        (b"", 0),
    ],
)
def test_two_files_are_compared_to_the_byte(tmp_path: Path, changed: bytes, at: int | None) -> None:
    first, second = image(tmp_path / "first"), image(tmp_path / "second", changed)
    assert again.first_difference(first / "root.raw", second / "root.raw") == at
    assert list(again.differences(first, second)) == (
        [] if at is None else [f"root.raw differs from byte {at} on"]
    )


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({}, "OK the_same_packages_make_the_same_image (2 packages, "),
        ({"root": b"other"}, "FAILED the_same_packages_make_the_same_image: root.raw differs from byte 0 on"),
        ({"packages": "udev 252.2\nsalt 3008.5\n"}, "other packages by now"),
    ],
)
def test_an_image_is_made_once_more_and_compared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    second: dict[str, str],
    said: str,
) -> None:
    first = image(tmp_path / "first")
    monkeypatch.setattr(vm, "make", lambda folder: image(folder, **second))
    assert again.run(tmp_path / "second", first) is said.startswith("OK")
    told = capsys.readouterr().out
    assert said in told
    assert told.splitlines()[1:] == (["- udev 252.1", "+ udev 252.2"] if "packages" in second else [])


def test_the_command_makes_it_beside_the_first_one_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in memory, where two gigabytes may be too many."""
    first = image(tmp_path / "guest")
    monkeypatch.setattr(vm, "IMAGE", first)
    made: list[Path] = []

    def run(folder: Path) -> bool:
        made.append(folder)
        shutil.copytree(first, folder, dirs_exist_ok=True)
        return True

    monkeypatch.setattr(again, "run", run)
    assert command.TRIALS["image"](tmp_path / "not-used", command.arguments(["image"]))
    assert [one.parent for one in made] == [tmp_path]
    assert list(tmp_path.iterdir()) == [first]
    assert "image" not in command.USUAL


def test_what_an_installer_notes_and_its_umask_do_not_get_into_a_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = metadata.distribution("packaging")
    there = {file.name for file in one.files or ()}
    assert {"RECORD", "INSTALLER", "METADATA"} <= there
    place = tmp_path / "dist-packages"
    salt_tree._copy(one, place)
    copied = [path for path in place.rglob("*") if path.is_file()]
    assert {path.name for path in copied} & {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"} == set()
    assert {"METADATA", "version.py"} <= {path.name for path in copied}
    assert {stat.S_IMODE(path.stat().st_mode) for path in copied} <= {0o644, 0o755}


def test_what_salt_is_made_of_is_listed_in_order() -> None:
    found = salt_tree.versions()
    assert found == sorted(found)
    assert f"salt {metadata.version('salt')}" in found


def test_what_the_lab_cannot_do_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def no_mirror(_: Path) -> None:
        raise LabError("the image of a guest was not made, image.sh ended with 100")

    monkeypatch.setattr(vm, "build", lambda: None)
    monkeypatch.setattr(vm, "IMAGE", tmp_path / "image")
    monkeypatch.setattr(vm, "scratch", lambda: tmp_path)
    monkeypatch.setattr(vm, "make", no_mirror)
    monkeypatch.setattr(sys, "argv", ["guest", "image"])
    assert command.main() == 2
    assert capsys.readouterr().err == "guest: the image of a guest was not made, image.sh ended with 100\n"

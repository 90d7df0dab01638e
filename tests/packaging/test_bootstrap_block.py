"""The block at the top of every Salt file: the same everywhere, and it does what it is there for."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.packaging.source import ROOT, python

sys.path.insert(0, str(ROOT / "scripts"))
import bootstrap_block

# Executes a Salt file as a running daemon does: its process lives on, files change below it.
DAEMON = """
import json, pathlib, runpy, sys
face, library = sys.argv[1], pathlib.Path(sys.argv[2])
def load():
    got = runpy.run_path(face)
    return [got["vmdk_failover"].__version__, got["vmdk_failover"].word.WORD, got["_REFUSAL"]]
seen = [load()]
for version in sys.argv[3:]:
    pathlib.Path(face).write_text(pathlib.Path(face).read_text().replace(f'"{seen[-1][0]}"', f'"{version}"'))
    (library / "__init__.py").write_text(f'from . import word\\n__version__ = "{version}"\\n')
    (library / "word.py").write_text(f'WORD = "word of {version}"\\n')
    seen.append(load())
print(json.dumps(seen))
"""


def make_library(place: Path, version: str) -> Path:
    (place / "vmdk_failover").mkdir(parents=True)
    (place / "vmdk_failover" / "__init__.py").write_text(f'from . import word\n__version__ = "{version}"\n')
    (place / "vmdk_failover" / "word.py").write_text(f'WORD = "word of {version}"\n')
    return place / "vmdk_failover"


def make_face(extmods: Path, version: str) -> Path:
    face = extmods / "beacons" / "vmdk.py"
    face.parent.mkdir(parents=True)
    face.write_text('"""A beacon."""\n\n' + bootstrap_block.BLOCK.format(version=version))
    return face


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree with one Salt file whose block is current."""
    shutil.copytree(ROOT / "_utils", tmp_path / "_utils")
    (tmp_path / "_modules").mkdir()
    text = f'"""A module."""\n\n{bootstrap_block.block()}import json\n'
    (tmp_path / "_modules" / "vmdk.py").write_text(text)
    return tmp_path


def test_every_salt_file_of_this_tree_carries_the_current_block() -> None:
    assert len(bootstrap_block.salt_files()) >= 6
    assert bootstrap_block.wrong() == []


@pytest.mark.parametrize(
    "old, new", [('_WANT = "', '_WANT = "9.'), ("_sys.path.append", "_sys.path.insert"), ("_REFUSAL", "_R")]
)
def test_a_block_that_differs_is_found_and_put_right(tree: Path, old: str, new: str) -> None:
    face = tree / "_modules" / "vmdk.py"
    right = face.read_text()
    face.write_text(right.replace(old, new))
    assert [sentence.split(":")[0] for sentence in bootstrap_block.wrong(tree)] == ["_modules/vmdk.py"]
    assert bootstrap_block.wrong(tree, write=True) == []
    assert face.read_text() == right


@pytest.mark.parametrize("marker", [bootstrap_block.FIRST, bootstrap_block.LAST])
def test_a_file_without_markers_is_named_and_left_alone(tree: Path, marker: str) -> None:
    face = tree / "_modules" / "vmdk.py"
    text = face.read_text().replace(marker, "# something else")
    face.write_text(text)
    assert "needs one line" in bootstrap_block.wrong(tree, write=True)[0]
    assert face.read_text() == text


def test_a_daemon_finds_the_library_of_its_first_sync(tmp_path: Path) -> None:
    face = make_face(tmp_path / "extmods", "1.0")
    library = make_library(tmp_path / "extmods" / "utils", "1.0")
    seen = json.loads(python("-c", DAEMON, str(face), str(library), cwd=tmp_path))
    assert seen == [["1.0", "word of 1.0", ""]]


def test_a_daemon_takes_the_library_of_the_next_sync_whole(tmp_path: Path) -> None:
    face = make_face(tmp_path / "extmods", "1.0")
    library = make_library(tmp_path / "extmods" / "utils", "1.0")
    seen = json.loads(python("-c", DAEMON, str(face), str(library), "1.0.1", "2.0", cwd=tmp_path))
    assert seen == [["1.0", "word of 1.0", ""], ["1.0.1", "word of 1.0.1", ""], ["2.0", "word of 2.0", ""]]


def test_a_wheel_beside_synced_files_of_another_version_is_refused(tmp_path: Path) -> None:
    face = make_face(tmp_path / "extmods", "2.0")
    library = make_library(tmp_path / "extmods" / "utils", "2.0")
    make_library(tmp_path / "site", "1.0")
    ((version, _, refusal),) = json.loads(
        python("-c", DAEMON, str(face), str(library), cwd=tmp_path, path=tmp_path / "site")
    )
    assert version == "1.0"
    assert "is of version 2.0" in refusal
    assert f"{tmp_path / 'site' / 'vmdk_failover'} of 1.0" in refusal

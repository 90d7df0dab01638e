"""One source, two deployments: what a wheel holds, and that Salt loads it, as it does synced files."""

from __future__ import annotations

import email
import json
import re
import shutil
import tarfile
import zipfile
from email.message import Message
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.packaging.source import FACES, LIBRARY, ROOT, copy_tree, python

# Lists what Salt's own loaders made of our files, per kind of file. argv: the directory of synced files.
LOAD = """
import json, sys
import salt.config, salt.loader
opts = dict(salt.config.DEFAULT_MINION_OPTS)
opts.update(dict.fromkeys(("cachedir", "extension_modules", "pki_dir", "sock_dir"), sys.argv[1]))
opts.update(file_client="local", grains={"id": "n1"}, id="n1", log_file="")
functions = salt.loader.minion_mods(opts)
loaders = {
    "modules": functions,
    "states": salt.loader.states(opts, functions, {}, None),
    "beacons": salt.loader.beacons(opts, functions),
    "runners": salt.loader.runner({**salt.config.DEFAULT_MASTER_OPTS, **opts}),
    "engines": salt.loader.engines(opts, functions, {}, {}),
    "pillar": salt.loader.pillars(opts, functions),
    "output": salt.loader.outputters(opts),
}
found = {kind: sorted(n for n in loader if n.partition(".")[0] == "vmdk") for kind, loader in loaders.items()}
unwrapped = {kind: one if hasattr(one, "missing_modules") else one._dict for kind, one in loaders.items()}
refused = {kind: str(unwrapped[kind].missing_modules.get("vmdk", "not found")) for kind in loaders if not found[kind]}
print(json.dumps({"refused": refused, "library": sys.modules["vmdk_failover"].__file__}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = copy_tree(tmp_path_factory.mktemp("tree"))
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(tree / "dist"), cwd=tree)
    (made,) = (tree / "dist").iterdir()
    return made


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    return email.message_from_bytes(
        zipfile.ZipFile(wheel).read(f"saltext_vmdk-{version()}.dist-info/METADATA")
    )


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """A directory that holds what pip would have put into site-packages."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    return tmp_path / "site"


def version() -> str:
    return python(
        "-c", "import vmdk_failover; print(vmdk_failover.__version__)", cwd=ROOT, path=ROOT / "_utils"
    ).strip()


def test_name_and_version_come_from_the_source(wheel: Path) -> None:
    assert wheel.name == f"saltext_vmdk-{version()}-py3-none-any.whl"


def test_every_module_of_the_library_is_in_the_wheel(names: set[str]) -> None:
    wanted = {f"vmdk_failover/{path.relative_to(LIBRARY)}" for path in LIBRARY.rglob("*.py")}
    assert wanted
    assert wanted <= names


@pytest.mark.parametrize("face", FACES)
def test_every_salt_file_is_in_the_wheel(face: str, names: set[str]) -> None:
    wanted = {f"vmdk_failover/{face}/{path.name}" for path in (ROOT / f"_{face}").glob("*.py")}
    assert f"vmdk_failover/{face}/vmdk.py" in wanted
    assert wanted <= names


def test_the_reactor_is_in_the_wheel(names: set[str]) -> None:
    assert {f"vmdk_failover/reactor/{path.name}" for path in (ROOT / "reactor").glob("*.sls")} <= names
    assert {f"vmdk_failover/{one}.sls" for one in ("reactor/vmdk", "orch/patch", "orch/reboot")} <= names


def test_nothing_else_is_in_the_wheel(names: set[str]) -> None:
    strangers = {name for name in names if not name.startswith(("vmdk_failover/", "saltext_vmdk-"))}
    assert strangers == set()
    assert {Path(name).suffix for name in names if name.startswith("vmdk_failover/")} == {
        ".py",
        ".sls",
        ".typed",
    }


def test_metadata_names_what_salt_looks_for(wheel: Path) -> None:
    archive, folder = zipfile.ZipFile(wheel), f"saltext_vmdk-{version()}.dist-info"
    entry_points = archive.read(f"{folder}/entry_points.txt").decode()
    assert "[salt.loader]\nvmdk_failover = vmdk_failover.saltloader:dirs" in entry_points


def test_metadata_say_what_an_index_shows(metadata: Message) -> None:
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).startswith("# saltext-vmdk\n")
    said = " ".join(value for name, value in metadata.items() if name != "Description")
    assert not re.search(r"example\.|your-|TODO|FIXME", said)


def test_the_pythons_of_the_classifiers_are_those_of_the_matrix(metadata: Message) -> None:
    told = set(re.findall(r"Python :: (3\.\d+)$", "\n".join(metadata.get_all("Classifier", [])), re.M))
    tried = set(re.findall(r'"(3\.\d+)"', (ROOT / "noxfile.py").read_text(encoding="utf-8")))
    assert told == tried


def test_a_node_needs_pyinotify_alone_and_a_master_pyvmomi_too(installed: Path) -> None:
    (found,) = distributions(name="saltext-vmdk", path=[str(installed)])
    wanted = [one.split("; ") for one in found.requires or ()]
    extras = {one[0]: one[1] for one in wanted if "extra ==" in one[-1]}
    assert {one[0] for one in wanted if one[0] not in extras} == {
        "salt>=3006",
        "pyinotify>=0.9.6",
        "pyasyncore>=1.0.5",  # pyinotify's own need, on Python 3.12 and newer
    }
    assert extras == {
        "pyvmomi==9.1.1.0": 'extra == "master"',
        "prometheus-client==0.26.0": 'extra == "metrics"',
    }


def test_the_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    python("-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), cwd=tree)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (made,) = (tmp_path / "dist").glob("*.whl")
    assert _contents(made) == _contents(wheel)
    with tarfile.open(sdist) as archive:
        inside = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert inside.isdisjoint({"tests", "lab", "build", "docs"})
    assert {"LICENSE", "README.md", "setup.py", "pyproject.toml", "_utils", "reactor"} <= inside


def _contents(wheel: Path) -> dict[str, int]:
    return {
        one.filename: one.CRC
        for one in zipfile.ZipFile(wheel).infolist()
        if not one.filename.endswith("RECORD")
    }


def test_salt_loads_every_kind_of_file_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    seen = json.loads(
        python("-c", LOAD, str(tmp_path / "cache"), cwd=tmp_path, path=installed).splitlines()[-1]
    )
    assert seen["refused"] == {}
    assert seen["library"].startswith(str(installed))


def test_salt_loads_every_kind_of_file_after_a_sync(tmp_path: Path) -> None:
    synced = tmp_path / "extmods"
    for face in (*FACES, "utils"):
        shutil.copytree(ROOT / f"_{face}", synced / face, ignore=shutil.ignore_patterns("__pycache__"))
    seen = json.loads(python("-c", LOAD, str(synced), cwd=tmp_path).splitlines()[-1])
    assert seen["refused"] == {}
    assert seen["library"].startswith(str(synced))


@pytest.mark.parametrize("synced_version", ["0.0.1", "99.0"])
def test_synced_files_beside_a_wheel_of_another_version_are_refused_in_one_sentence(
    installed: Path, tmp_path: Path, synced_version: str
) -> None:
    """Salt takes the synced files and Python the wheel's library, whichever of them is the older one."""
    synced = tmp_path / "extmods"
    for face in (*FACES, "utils"):
        shutil.copytree(ROOT / f"_{face}", synced / face, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*synced.glob("*/vmdk.py"), synced / "utils/vmdk_failover/__init__.py"]:
        path.write_text(path.read_text().replace(f'"{version()}"', f'"{synced_version}"'))
    seen = json.loads(python("-c", LOAD, str(synced), cwd=tmp_path, path=installed).splitlines()[-1])
    assert set(seen["refused"]) == set(FACES)
    for face, sentence in seen["refused"].items():
        assert f"{synced / face / 'vmdk.py'} is of version {synced_version}, but" in sentence
        assert f"{installed / 'vmdk_failover'} of {version()}; deploy saltext-vmdk either" in sentence


def test_an_editable_install_finds_the_folders_of_the_source_tree() -> None:
    code = "import json; from vmdk_failover.saltloader import dirs; print(json.dumps(dirs()))"
    found = json.loads(python("-c", code, cwd=ROOT, path=ROOT / "_utils"))
    assert found == {face: [str(ROOT / f"_{face}")] for face in FACES}

"""One source, two deployments: what a wheel holds, and that Salt loads it, as it does synced files."""

from __future__ import annotations

import email
import json
import shutil
import zipfile
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
refused = {kind: str(loader.missing_modules.get("vmdk", "not found")) for kind, loader in loaders.items() if not found[kind]}
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
    assert {"vmdk_failover/reactor/vmdk.sls", "vmdk_failover/orch/patch.sls"} <= names


def test_nothing_else_is_in_the_wheel(names: set[str]) -> None:
    strangers = {name for name in names if not name.startswith(("vmdk_failover/", "saltext_vmdk-"))}
    assert strangers == set()
    assert {Path(name).suffix for name in names if name.startswith("vmdk_failover/")} == {
        ".py",
        ".sls",
        ".typed",
    }


def test_metadata_names_what_salt_and_pip_look_for(wheel: Path) -> None:
    archive, folder = zipfile.ZipFile(wheel), f"saltext_vmdk-{version()}.dist-info"
    metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
    entry_points = archive.read(f"{folder}/entry_points.txt").decode()
    assert "[salt.loader]\nvmdk_failover = vmdk_failover.saltloader:dirs" in entry_points
    assert metadata["Requires-Python"] == ">=3.10"
    assert "salt>=3006" in metadata.get_all("Requires-Dist", [])
    assert 'pyvmomi==9.1.1.0; extra == "master"' in metadata.get_all("Requires-Dist", [])


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


def test_an_editable_install_finds_the_folders_of_the_source_tree() -> None:
    code = "import json; from vmdk_failover.saltloader import dirs; print(json.dumps(dirs()))"
    found = json.loads(python("-c", code, cwd=ROOT, path=ROOT / "_utils"))
    assert found == {face: [str(ROOT / f"_{face}")] for face in FACES}

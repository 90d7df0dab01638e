"""The matrix of Salt and Python: `make matrix`, or `build/venv/bin/nox --list`.

Each session makes a virtual environment with one line of Salt on one Python from a pinned list, puts the wheel into it (without
pip's resolver: the newest Salt of a line may ask for what an index has not got yet), and runs the node's side, the judgement, and
a few scenarios with that Salt's own master and minions. The corner installs the wheel once more as a user does.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent))
from tests.packaging.source import copy_tree

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.envdir = "build/nox"
nox.options.reuse_venv = "yes"  # an installation from a pinned list that is there already takes a second
nox.options.sessions = ["matrix"]

#: Salt 3006 and 3007 are packaged with Python 3.11; their daemons are not supported on newer ones. 3008 is packaged with 3.14.
PYTHONS = {
    "3006": ("3.10", "3.11"),
    "3007": ("3.10", "3.11"),
    "3008": ("3.10", "3.11", "3.12", "3.13", "3.14"),
}
#: What [master] brings, as the beginnings of its folders' names.
BROUGHT = ("pyvmomi", "pyvim")
SCENARIOS = ("power-off", "eio-switchover", "switchover")
#: What depends on the Python or on the Salt that is there, and is not a matter of real daemons. They run from the source.
#: The judgement imports nothing of Salt (import-linter holds it to that), so it is tried once on each Python, with the newest.
NEWEST = "3008"
SHELLS = ("dry_runs", "looked_at_now", "master_settings", "saltcall", "states")
TESTS_OF_SALT = ("tests/guest", *(f"tests/core/test_{name}.py" for name in SHELLS))
TESTS_OF_PYTHON = ("tests/guest", "tests/core")


def _wheel(session: nox.Session) -> str:
    """Build the wheel by way of the source distribution, from a copy: what a build leaves behind looks installed."""
    place = Path(session.create_tmp()) / "wheel"
    shutil.rmtree(place, ignore_errors=True)
    source = copy_tree(place / "source")
    build = ("uv", "build", "--quiet", "--build-constraints", "requirements/dev.txt", str(source))
    session.run_install(*build, external=True)
    (made,) = (source / "dist").glob("*.whl")
    return str(made)


def _install(session: nox.Session, salt: str) -> str:
    """The wheel with that Salt, nothing of the source tree; every version is pinned, so nothing is resolved. Returns it."""
    pinned = f"requirements/salt-{salt}.txt"
    session.install("--quiet", "--no-deps", "--build-constraints", pinned, "--compile-bytecode", "-r", pinned)
    wheel = _wheel(session)
    session.install("--quiet", "--no-deps", "--reinstall", wheel)
    session.run("salt-call", "--version")
    return wheel


def _install_by_pip(session: nox.Session, wheel: str) -> None:
    """
    What a master's user types, with pip's own resolver: it takes what [master] brings, and leaves the Salt that is there alone.

    That Salt is the one of build/venv, seen from a virtual environment of its own. (salt-pip is the pip of Salt's own package and
    does nothing without that package.)
    """
    home, place = Path("build/venv").resolve(), Path(session.create_tmp()).resolve() / "by-pip"
    session.run_install(
        str(home / "bin/python"), "-m", "venv", "--clear", "--without-pip", str(place), external=True
    )
    (there,), (site,) = (list(one.glob("lib/python*/site-packages")) for one in (home, place))
    seen = place / "seen"
    seen.mkdir()
    for one in there.iterdir():
        if not one.name.lower().startswith(BROUGHT):
            (seen / one.name).symlink_to(one)
    (site / "seen.pth").write_text(f"{seen}\n")
    pip = (str(home / "bin/pip"), "--python", str(place / "bin/python"), "--disable-pip-version-check")
    session.run_install(*pip, "install", "--quiet", f"{wheel}[master]", external=True)
    names = {one.name.partition("-")[0].lower() for one in site.glob("*.dist-info")}
    if not {"saltext_vmdk", "pyvmomi"} <= names or "salt" in names:
        session.error(f"pip has installed {', '.join(sorted(names))}")
    load = "import salt.version, pyVmomi, vmdk_failover; print(vmdk_failover.__file__)"
    session.run(str(place / "bin/python"), "-W", "ignore", "-c", load, external=True)


def _scenarios(session: nox.Session, *names: str) -> None:
    session.run("python", "-m", "lab", "run", *names)


@nox.session
@nox.parametrize(
    ("python", "salt"), [(python, salt) for salt, pythons in PYTHONS.items() for python in pythons]
)
def matrix(session: nox.Session, salt: str) -> None:
    """All that depends on Salt or Python, and scenarios; what follows -- is for pytest, then without scenarios."""
    _install(session, salt)
    tests = TESTS_OF_PYTHON if salt == NEWEST else TESTS_OF_SALT
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *(session.posargs or tests))
    if not session.posargs:
        _scenarios(session, *SCENARIOS)


@nox.session(python=PYTHONS["3006"])
def corner(session: nox.Session) -> None:
    """The oldest Salt, from the wheel, end to end, and pip's way in: a part of `make test`."""
    _install_by_pip(session, _install(session, "3006"))
    _scenarios(session, "power-off")

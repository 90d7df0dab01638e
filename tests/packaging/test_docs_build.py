"""The documentation as it is built, and those of its commands that need no cluster, run as they are printed."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.packaging import pages
from tests.packaging.source import ROOT
from vmdk_failover.judgement import config

HTML = ROOT / "build" / "docs" / "html"
BIN = Path(sys.executable).parent


class Page(HTMLParser):
    """What a page can be asked for, and what it points to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.targets.append(value)


@pytest.fixture(scope="module")
def built() -> dict[Path, Page]:
    """Build anew what has changed. Warnings are errors."""
    done = subprocess.run(
        ["scripts/docs.sh"], cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path) for path in HTML.rglob("*.html")}


def test_each_page_of_the_folder_is_built(built: dict[Path, Page]) -> None:
    made = {str(path.relative_to(HTML).with_suffix("")) for path in built}
    assert {str(path.relative_to(pages.DOCS).with_suffix("")) for path in pages.DOCS.rglob("*.md")} <= made


def test_every_link_between_pages_leads_somewhere(built: dict[Path, Page]) -> None:
    broken = []
    for path, page in built.items():
        for target in page.targets:
            file, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target) or target.startswith("//"):
                continue
            where = (path.parent / unquote(file.partition("?")[0])).resolve() if file else path
            if not where.exists() or (anchor and where in built and unquote(anchor) not in built[where].ids):
                broken.append(f"{path.name}: {target}")
    assert broken == []


def test_the_pages_fetch_nothing_from_elsewhere(built: dict[Path, Page]) -> None:
    foreign = re.compile(r"(https?:)?//.*\.(js|css|woff2?|png|svg)")
    assert {target for page in built.values() for target in page.targets if foreign.match(target)} == set()


def test_the_manual_has_every_command(built: dict[Path, Page]) -> None:
    text = (HTML / "commands.html").read_text(encoding="utf-8")
    plain = re.sub(r"<[^>]+>", "", text)
    for path, command in ((ROOT / "_runners/vmdk.py", "salt-run"), (ROOT / "_modules/vmdk.py", "salt-call")):
        for name in set(pages.public(path)) - {"facts", "look"}:
            assert f"{command} vmdk.{name}(" in plain


# -- commands that need no cluster ----------------------------------------------------------------------------------


def run(*words: str | Path, seconds: float = 60) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "_utils"), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def printed(start: str) -> str:
    """Return the one command of the pages that begins so, as it is printed."""
    lines = [
        line for path in pages.pages() for line in re.findall(r"^[#$] (.*)$", path.read_text("utf-8"), re.M)
    ]
    (one,) = {line.split("   #")[0] for line in lines if line.startswith(start)}
    return one


def test_make_alone_lists_what_the_pages_name() -> None:
    listed = run("make")
    for name in {command.words[1] for command in pages.commands() if command.words[0] == "make"}:
        assert f"  {name} " in listed, f"make {name} is in the pages and not in the list of make"


def test_the_lab_has_the_commands_of_its_page() -> None:
    assert "eio-switchover" in run(*["build/venv/bin/python", "-m", "lab", "list"])
    for command in pages.commands():
        if command.words[:3] == ("build/venv/bin/python", "-m", "lab"):
            run(*command.words[:4], "--help")


def program_of(target: str) -> list[str]:
    """Return what a target of the Makefile gives its ARGS to, if that is a module of Python."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{target}:.*\n(?:\t.*\n)*?\t@.*\$\(PY\) -m ([a-z_. ]+)", makefile, re.M)
    return found[1].split() if found else []


def test_the_options_that_the_pages_give_to_programs_are_there() -> None:
    checked = set()
    for command in pages.commands():
        given = next((word for word in command.words if word.startswith("ARGS=--")), "")
        program = program_of(command.words[1]) if given else []
        if program and program[0] != "pytest":
            known = run(sys.executable, "-m", *program, "--help")
            assert [one for one in re.findall(r"--[\w-]+", given) if one not in known] == [], command.where
            checked.add(command.words[1])
    assert {"scenario", "soak-detect", "soak"} <= checked


@pytest.fixture(scope="module")
def minion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of a machine that has the extension and no master."""
    folder = tmp_path_factory.mktemp("minion")
    (folder / "minion").write_text(
        f"id: n1\nfile_client: local\nroot_dir: {folder}\nmodule_dirs: []\nextension_modules: {folder}/ext\n"
        f"states_dirs: [{ROOT}/_states]\nvmdk: {{state_dir: {folder}/state}}\ndisable_grains: [lvm]\n"
    )
    (folder / "ext").mkdir()
    for face in ("modules", "states", "output"):
        (folder / "ext" / face).symlink_to(ROOT / f"_{face}")
    (folder / "ext" / "utils").symlink_to(ROOT / "_utils")
    return folder


@pytest.mark.parametrize("command", ["-d vmdk", "vmdk.version", "vmdk.status"])
def test_a_command_of_a_node_works_without_a_master(minion: Path, command: str) -> None:
    said = run(BIN / "salt-call", "--local", "-c", str(minion), *command.split())
    assert "vmdk" in said or "n1" in said or "local" in said
    if command == "-d vmdk":
        for name in pages.public(ROOT / "_modules" / "vmdk.py"):
            assert f"vmdk.{name}:" in said


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """A TLS server with a certificate of its own; the port."""
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=vc.example.com",
        "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem")  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            try:
                with line, context.wrap_socket(line, server_side=True) as inner:
                    inner.recv(1)
            except OSError:
                continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_the_command_for_the_fingerprint_prints_what_the_configuration_takes(server: int) -> None:
    command = printed("openssl s_client").replace("vc.example.com:443", f"127.0.0.1:{server}")
    fingerprint = run("bash", "-c", command).strip().partition("=")[2]
    vcenter = {"host": "vc.example.com", "user": "svc", "password": "x", "sha256": fingerprint}
    assert [str(one) for one in config.parse({"vcenter": vcenter}).faults] == []

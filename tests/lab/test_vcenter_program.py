"""The lab's vCenter as a program: its hook, its certificate, its life, its size."""

from __future__ import annotations

import http.server
import json
import os
import select
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from lab import linux
from lab.hypervisor import ROOT, Tls, Vcenter, VcenterError, built
from tests.lab.vsphere import DISK, INVENTORY, UUID, add, connect, disks, done, reconfigure, remove


@pytest.fixture(scope="session")
def program() -> Path:
    """Built before the tests leave the machine's network."""
    return built()


Answer = tuple[int, dict[str, str]]


@contextmanager
def nodes(answer: Callable[[dict[str, Any]], Answer]) -> Iterator[str]:
    """A hook; yields its URL."""

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join(10)


def test_the_nodes_follow_inside_the_task(program: Path) -> None:
    heard: list[dict[str, Any]] = []
    go_on = threading.Event()

    def answer(step: dict[str, Any]) -> Answer:
        heard.append(step)
        if step["op"] == "poweroff":
            return 409, {"fault": "FileLocked", "message": "the node is stuck"}
        return (200, {}) if go_on.wait(10) else (500, {})

    with nodes(answer) as url, Vcenter(INVENTORY, binary=program, hook=url) as vcenter:
        vm = connect(vcenter).vm("db1")
        vcenter.add_disk(path="[ds1] b.vmdk", uuid="u-b", capacity_mb=8)
        task = reconfigure(vm, remove(disks(vm)[0].key), add("[ds1] b.vmdk"))
        assert linux.wait_until(lambda: len(heard) == 1, 5)
        started = time.monotonic()
        assert disks(vm)[0].backing.fileName == DISK and str(task.info.state) == "running"
        assert time.monotonic() - started < 1, "reading waited for the hook"
        go_on.set()
        done(task)
        place = {"vm": "db1", "bus": 1, "unit": 0}
        assert heard == [
            {"op": "detach", "path": DISK, "uuid": UUID, **place},
            {"op": "attach", "path": "[ds1] b.vmdk", "uuid": "u-b", **place},
        ]
        with pytest.raises(vim.fault.FileLocked, match="the node is stuck"):
            done(vm.PowerOffVM_Task())
        assert vm.runtime.powerState == "poweredOn"


def test_tls_with_a_certificate_of_ones_own(program: Path, tmp_path: Path) -> None:
    tls = Tls(tmp_path / "cert", tmp_path / "key")
    new = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=vc", "-addext", "subjectAltName=IP:127.0.0.2"]
    files = ["-keyout", str(tls.key), "-out", str(tls.cert)]
    subprocess.run(["openssl", *new, *names, *files], check=True, capture_output=True)
    context = ssl.create_default_context(cafile=str(tls.cert))
    with Vcenter(INVENTORY, binary=program, tls=tls, listen="127.0.0.2:0") as vcenter:
        assert connect(vcenter, context).vm("db1").name == "db1"
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(vcenter, ssl.create_default_context())


def test_it_ends_with_its_parent(program: Path, tmp_path: Path) -> None:
    code = "import json, sys, time; from lab.hypervisor import Vcenter; v = Vcenter(json.loads(sys.argv[1]));"
    command = [sys.executable, "-c", code + "print(v.pid, flush=True); time.sleep(60)", json.dumps(INVENTORY)]
    place = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=place) as parent:
        assert parent.stdout is not None
        assert select.select([parent.stdout], [], [], 30)[0], "it does not start"
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}/comm").read_text() == "lab-vcenter\n"
        parent.send_signal(signal.SIGKILL)
    assert linux.wait_until(lambda: not _runs(pid), 10)
    assert list(tmp_path.iterdir()) == []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_leaves_nothing_behind(program: Path) -> None:
    vcenter = Vcenter(INVENTORY, binary=program)
    place, pid = Path(vcenter._place), vcenter.pid
    assert place.is_dir() and [one for one in place.iterdir() if one.name.startswith("govcsim-")]
    vcenter.stop()
    vcenter.stop()
    assert not place.exists() and not os.path.exists(f"/proc/{pid}")
    with pytest.raises(VcenterError, match="does not answer"):
        vcenter.inventory()


def test_a_bad_inventory_is_explained(program: Path) -> None:
    with pytest.raises(VcenterError, match="names no hosts"):
        Vcenter({"datastores": ["ds1"]}, binary=program)
    with pytest.raises(VcenterError, match="no host is named"):
        Vcenter({**INVENTORY, "vms": [{"name": "x", "host": "esx9"}]}, binary=program)


def test_a_thousand_more_vms(program: Path) -> None:
    started = time.monotonic()
    with Vcenter(INVENTORY, binary=program, filler=1000) as vcenter:
        assert time.monotonic() - started < 20
        client = connect(vcenter)
        vm = client.vm("filler-00999")
        assert vm.runtime.powerState == "poweredOn" and len(disks(vm)) == 1
        assert client.content.searchIndex.FindByUuid(None, vm.config.instanceUuid, True, True) == vm
        done(vm.PowerOffVM_Task())

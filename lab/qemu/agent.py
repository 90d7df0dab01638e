"""
Runs in a guest as its only program (``lab/guest/init``): does what the lab asks over a virtio line, tells it what is mounted, and
starts the minion. Standard library only.

Before a guest's state is saved this program imports Salt, so that a restored guest's minion starts by a fork, in a second
instead of twenty. Lines of JSON both ways.
"""

import base64
import fcntl
import io
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

PORT, PLACE = Path("/dev/virtio-ports/lab.line"), Path("/run/lab")
SYSFS = Path("/sys/block")
BEAT = 1.0  # seconds between its signs of life, as VMware Tools give them
_RNDADDENTROPY, _RNDRESEEDCRNG = 0x40085203, 0x5207
IMPORTED = (
    "salt.scripts", "salt.cli.daemons", "salt.minion", "salt.utils.process", "salt.beacons", "salt.engines", "salt.states",
    "salt.utils.schedule", "salt.channel.client", "salt.transport.zeromq", "salt.crypt", "salt.loader", "salt.pillar",
    "salt.fileclient", "salt.state", "salt.grains.core", "salt.utils.event", "pyinotify", "yaml", "jinja2", "multiprocessing",
    "ctypes", "hmac", "xml.etree.ElementTree", "sqlite3", "tornado.web",
)  # fmt: skip
_WRITE = threading.Lock()


class Line:
    """The line to the lab. While nobody holds its other end, what is said is lost and nothing is heard."""

    def __init__(self):
        self.fd = os.open(PORT, os.O_RDWR)

    def say(self, **words):
        data = json.dumps(words).encode() + b"\n"
        with _WRITE:
            while data:
                data = data[os.write(self.fd, data) :]

    def heard(self):
        """Yield what the lab says."""
        rest = b""
        while True:
            more = os.read(self.fd, 1 << 16)
            if not more:  # nobody is there
                rest = b""
                time.sleep(0.02)
                continue
            *whole, rest = (rest + more).split(b"\n")
            yield from (json.loads(one) for one in whole if one)


def disks():
    """Serial to device number of the SCSI disks that the kernel knows now; no request goes to a disk."""
    found = {}
    for path in SYSFS.glob("sd*"):
        try:
            page = (path / "device/vpd_pg80").read_bytes()
            found[page[4:].decode(errors="replace").strip(" \0").lower()] = (path / "dev").read_text().strip()
        except OSError:
            continue  # it is just coming or going
    return found


def above(number):
    """Device numbers of all that the kernel has made of a block device, such as the volumes of LVM on it."""
    found = []
    for holder in (SYSFS.parent / "dev/block" / number / "holders").glob("*"):
        try:
            one = (holder / "dev").read_text().strip()
        except OSError:
            continue  # it is just coming or going
        found += [one, *above(one)]
    return found


def read_all(fd):
    """What is left of a file."""
    pieces = []
    while piece := os.read(fd, 1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def watch(line):
    """Tell what is mounted, which disks are there and what lies on them, each time that it changes."""
    table = os.open("/proc/self/mountinfo", os.O_RDONLY)
    poll = select.poll()
    poll.register(table, select.POLLPRI | select.POLLERR)
    before, told, known, found = None, 0.0, None, {}
    while True:
        if time.monotonic() > told + BEAT:
            line.say(op="beat")
            told = time.monotonic()
        os.lseek(table, 0, os.SEEK_SET)
        mounts = read_all(table).decode(errors="surrogateescape")
        listed = os.listdir(SYSFS)
        names = {name for name in listed if name.startswith("sd")}
        if names != known or len(found) != len(names):
            known, found = names, disks()
        mapped = any(name.startswith("dm-") for name in listed)
        on_top = {number: above(number) for number in found.values()} if mapped else {}
        if (mounts, found, on_top) != before:
            before = (mounts, found, on_top)
            line.say(op="sight", mounts=mounts, disks=found, above=on_top)
        poll.poll(50)


def run(line, order):
    """Run a program with a deadline."""
    try:
        done = subprocess.run(
            order["argv"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=order["seconds"],
            check=False,
        )
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        words = {"code": done.returncode, "out": out, "err": err}
    except subprocess.TimeoutExpired:
        words = {"late": True}
    except OSError as problem:
        words = {"code": 127, "out": "", "err": str(problem)}
    line.say(op="done", id=order["id"], **words)


def place(data):
    """Unpack the node's files."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(data)), mode="r:*") as tar:
        tar.extractall(PLACE, filter="fully_trusted") if hasattr(tarfile, "data_filter") else tar.extractall(
            PLACE
        )


def _cover(path, text):
    """Show `text` at a path of the kernel's."""
    name = Path("/run") / f"lab-{path.name}"
    name.write_text(text + "\n")
    subprocess.run(["mount", "--bind", str(name), str(path)], check=True)


def wake(order):
    """Make a restored guest one that has just been booted: time, chance, boot id, identity, SCSI controllers."""
    time.clock_settime(time.CLOCK_REALTIME, order["now"])
    chance = os.open("/dev/random", os.O_WRONLY)
    seed = bytes.fromhex(order["seed"])
    fcntl.ioctl(chance, _RNDADDENTROPY, struct.pack(f"ii{len(seed)}s", 8 * len(seed), len(seed), seed))
    fcntl.ioctl(chance, _RNDRESEEDCRNG)
    os.close(chance)
    _cover(Path("/proc/sys/kernel/random/boot_id"), order["boot_id"])
    _cover(Path("/sys/class/dmi/id/product_uuid"), order["uuid"])
    subprocess.run(["modprobe", "vmw_pvscsi"], check=True)


def appear(order):
    """Name and address of this boot."""
    Path("/etc/hostname").write_text(order["hostname"] + "\n")
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{order['address']} {order['hostname']}\n")
    Path("/etc/machine-id").write_text(order["machine_id"] + "\n")
    Path("/etc/resolv.conf").write_text("")
    socket.sethostname(order["hostname"])
    for words in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "link", "set", "eth0", "up"],
        ["ip", "address", "replace", f"{order['address']}/24", "dev", "eth0"],
    ):
        subprocess.run(words, check=True)
    for directory in order["directories"]:
        os.makedirs(directory, exist_ok=True)


def kill_agent(order):
    """Send a signal to the minion and its prober, and to nothing else; a minion is a fork of the zygote in its own session."""
    mine = os.getsid(0)
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes()
            if b"prober.py" in line or (b"zygote" in line and os.getsid(int(name)) != mine):
                os.kill(int(name), order["signal"])
        except OSError:
            continue  # it has ended meanwhile


def zygote(orders):
    """Salt, imported; for each order (a line of JSON) a fork that becomes a minion."""
    for name in IMPORTED:
        try:
            __import__(name)
        except ImportError as problem:
            print(f"zygote: {problem}", flush=True)
    print("ZYGOTE", flush=True)
    while True:
        text = orders.readline()
        if not text:
            return
        order = json.loads(text)
        if os.fork() == 0:
            _become_minion(order)


def _become_minion(order):
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.chdir("/")
    os.closerange(3, 256)
    sys.argv = ["/usr/local/bin/salt-minion", *order["arguments"]]
    Path("/proc/self/comm").write_text("salt-minion")
    import salt.scripts

    try:
        code = salt.scripts.salt_minion() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    os._exit(code)


def main():
    if len(sys.argv) > 1:  # python3 run.py zygote
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        zygote(sys.stdin)
        return
    minions = subprocess.Popen(
        [sys.executable, __file__, "zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    line = Line()
    ready = minions.stdout.readline()
    line.say(op="ready", zygote=ready.decode().strip())
    threading.Thread(target=watch, args=(line,), daemon=True).start()
    for order in line.heard():
        threading.Thread(target=_obey, args=(line, minions, order), daemon=True).start()


def _obey(line, minions, order):
    simple = {"place": lambda o: place(o["data"]), "wake": wake, "appear": appear, "signal": kill_agent}
    if order["op"] == "run":
        run(line, order)
        return
    try:
        if order["op"] == "minion":
            minions.stdin.write(json.dumps(order).encode() + b"\n")
            minions.stdin.flush()
        elif order["op"] in simple:
            simple[order["op"]](order)
        line.say(op="done", id=order["id"], code=0, out="", err="")
    except Exception as problem:
        line.say(op="done", id=order["id"], code=1, out="", err=repr(problem))


if __name__ == "__main__":
    main()

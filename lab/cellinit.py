"""Process 1 of a cell: builds the cell's view of the machine, starts its programs, ends with the lab.

Run by lab.cell as `python -m lab.cellinit SPEC LIFE READY SENTINEL`: a JSON text and three descriptors.
LIFE: a socket for the lab's requests; its end of file ends the cell. READY: told this process' number, then
`ready` or a sentence. SENTINEL: held by a child that does nothing, so that the lab sees when everything has been killed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Any

from lab import linux

PLACE = "/run/lab"  # where a cell finds its own directory
_DEVICES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "kmsg": (1, 11), "tty": (5, 0),
}  # fmt: skip
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}


def _below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _tmpfs(path: str, mode: str = "755") -> None:
    linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID, f"mode={mode},size=512m")


def _show(fd: int, path: str, writable: bool) -> None:
    """Bind what `fd` was opened on to `path`."""
    os.makedirs(path, exist_ok=True)
    linux.mount(f"/proc/self/fd/{fd}", path, None, linux.MS_BIND | linux.MS_REC)
    if writable:
        linux.mount(None, path, None, linux.MS_BIND | linux.MS_REMOUNT)


def _directories(spec: dict[str, Any]) -> None:
    """The machine's files read-only; /tmp, /run and what is hidden empty; what is kept at its place."""
    hidden = [path for path in ("/tmp", "/run", *spec["hidden"]) if os.path.isdir(path)]
    kept = [(path, path, path in spec["writable"]) for path in [*spec["kept"], *spec["writable"]]]
    kept = [entry for entry in kept if entry[2] or any(_below(entry[0], above) for above in hidden)]
    kept += [(spec["directory"], PLACE, True)]
    kept += [(f"{spec['directory']}/{name}", f"/{name}", True) for name in ("srv", "mnt")]
    kept += [(source, f"{PLACE}/{name}", True) for name, source in spec["shared"].items()]
    opened = [(os.open(source, os.O_PATH | os.O_CLOEXEC), path, writable) for source, path, writable in kept]
    linux.make_read_only("/")
    for path in hidden:
        if os.path.isdir(path):
            _tmpfs(path, "1777" if path == "/tmp" else "755")
    for fd, path, writable in opened:
        _show(fd, path, writable)
        os.close(fd)


def _etc(spec: dict[str, Any]) -> None:
    """An /etc of its own above the machine's; changes stay in the cell's directory."""
    upper, work = f"{PLACE}/etc/upper", f"{PLACE}/etc/work"
    for path in (upper, work):
        os.makedirs(path, exist_ok=True)
    linux.mount("overlay", "/etc", "overlay", 0, f"lowerdir=/etc,upperdir={upper},workdir={work}")
    files = {
        "hostname": f"{spec['hostname']}\n",
        "machine-id": f"{spec['machine_id']}\n",
        "hosts": f"127.0.0.1 localhost\n{spec['address']} {spec['hostname']}\n",
        "resolv.conf": "",
        "fstab": "",
    }
    for name, text in files.items():
        if not os.path.lexists(f"{upper}/{name}"):
            with suppress(FileNotFoundError):
                os.unlink(f"/etc/{name}")
            with open(f"/etc/{name}", "w", encoding="ascii") as file:
                file.write(text)


def _devices(watchdogs: list[str], fifo: str) -> None:
    linux.mount("tmpfs", "/dev", "tmpfs", linux.MS_NOSUID, "mode=755,size=16m")
    for name, number in _DEVICES.items():
        with suppress(PermissionError):  # a container may forbid the making of /dev/kmsg
            os.mknod(f"/dev/{name}", 0o666 | 0o020000, os.makedev(*number))
            os.chmod(f"/dev/{name}", 0o644 if name == "kmsg" else 0o666)
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")
    for name in ("pts", "shm", "disk", "disk/by-id"):
        os.mkdir(f"/dev/{name}")
    linux.mount(
        "devpts",
        "/dev/pts",
        "devpts",
        linux.MS_NOSUID | linux.MS_NOEXEC,
        "newinstance,ptmxmode=0666,mode=620",
    )
    os.symlink("pts/ptmx", "/dev/ptmx")
    linux.mount("tmpfs", "/dev/shm", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777,size=256m")
    for path in watchdogs:
        open(path, "x").close()
        linux.bind(fifo, path)


def _proc(spec: dict[str, Any], fifo: str) -> None:
    """A /proc of its own whose switches are out of reach: sysctls read-only, the sysrq trigger a pipe of the lab."""
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    linux.bind("/proc/sys", "/proc/sys", read_only=True)
    boot_id = "/run/boot_id"
    with open(boot_id, "w", encoding="ascii") as file:
        file.write(f"{spec['boot_id']}\n")
    linux.bind(boot_id, "/proc/sys/kernel/random/boot_id", read_only=True)
    if os.path.exists("/proc/sysrq-trigger"):
        linux.bind(fifo, "/proc/sysrq-trigger")


def _build(spec: dict[str, Any]) -> None:
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    linux.make_private()
    socket.sethostname(spec["hostname"])
    watchdogs = [f"/dev/{name}" for name in sorted(os.listdir("/dev")) if name.startswith("watchdog")]
    fifo = f"{PLACE}/sysrq"
    _directories(spec)
    _etc(spec)
    _devices(watchdogs, fifo)
    _proc(spec, fifo)


class _Programs:
    """What runs in the cell on the lab's behalf. lab: datagrams to and from it; end of file means that it has ended."""

    def __init__(self, lab: socket.socket, boot: list[dict[str, Any]]) -> None:
        self._lab, self._boot = lab, boot
        self._numbers: dict[int, int] = {}  # process number in the cell -> number of the lab's request

    def serve(self) -> bool:
        """Carry out one request. Returns False when the lab has ended."""
        text, fds, _, _ = socket.recv_fds(self._lab, 1 << 20, 2)
        try:
            if text:
                self._obey(json.loads(text), fds)
        finally:
            for fd in fds:
                os.close(fd)
        return bool(text)

    def _obey(self, request: dict[str, Any], fds: list[int]) -> None:
        if request["op"] == "boot":
            for command in self._boot:
                with open(command["log"], "ab") as log:
                    _spawn(command["argv"], command["env"], log.fileno(), log.fileno())
            return
        try:
            self._numbers[_spawn(request["argv"], request["env"], *fds)] = request["number"]
        except OSError as problem:
            self._tell(request["number"], 127, str(problem))

    def _tell(self, number: int, code: int, error: str = "") -> None:
        with suppress(OSError):  # the lab is ending; the next read says so
            self._lab.send(json.dumps({"number": number, "code": code, "error": error}).encode())

    def reap(self) -> None:
        """Bury the dead, and tell the lab about those that it asked for."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid in self._numbers:
                    self._tell(self._numbers.pop(pid), os.waitstatus_to_exitcode(status))


def _spawn(argv: list[str], env: dict[str, str], out: int, err: int) -> int:
    with open(os.devnull, "rb") as null:
        actions = [
            (os.POSIX_SPAWN_DUP2, source, place) for place, source in enumerate((null.fileno(), out, err))
        ]
        return os.posix_spawnp(
            argv[0], argv, env, file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE]
        )


def _live(programs: _Programs, lab: socket.socket) -> None:
    """Serve the lab and bury dead processes until the lab has ended."""
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(lab, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if wake.fileno() in ready:
            wake.recv(4096)
            programs.reap()
        if lab.fileno() in ready and not programs.serve():
            return


def _idle_child(*close: int) -> None:
    """Fork a child that does nothing until it is killed."""
    if os.fork() == 0:
        for fd in close:
            os.close(fd)
        while True:
            signal.pause()


def _init(spec: dict[str, Any], life: int, ready: int, sentinel: int) -> None:
    try:
        # Whoever leaves the cell's mounts last waits for its disks while it ends. The sentinel is forked before there
        # are such mounts; a second child stays in them, so that process 1 is not the last and can kill the others.
        _idle_child(life, ready)
        os.close(sentinel)
        _build(spec)
        _idle_child(life, ready)
        os.write(ready, b"ready\n")
    except OSError as problem:
        os.write(ready, f"cannot be built: {problem}\n".encode())
        return
    finally:
        os.close(ready)
    lab = socket.socket(fileno=life)
    _live(_Programs(lab, spec["boot"]), lab)


def main(text: str, life: int, ready: int, sentinel: int) -> int:
    """Make the cell; in the outer process wait for its end. Returns the exit status of process 1."""
    linux.unshare(linux.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        try:
            _init(json.loads(text), life, ready, sentinel)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.write(ready, f"{pid}\n".encode())
    for fd in (life, ready, sentinel):
        os.close(fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = os.waitpid(pid, 0)[1]
    return 100 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *(int(word) for word in sys.argv[2:5])))

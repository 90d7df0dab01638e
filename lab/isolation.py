"""A network and a mount table of the lab's own, so that it meets nothing and nobody of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lab import linux


def isolate() -> None:
    """Put this process into its own network (with `lo` up) and mount namespaces. Call it before starting threads."""
    linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWNS)
    linux.make_private()
    linux.loopback_up()
    linux.route_to_nowhere("10.77.0.0", "255.255.255.0")


@contextmanager
def isolated() -> Iterator[None]:
    """The same for the duration of a block, for the calling thread and those that it starts."""
    fds = [os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("net", "mnt")]
    place = os.getcwd()
    try:
        isolate()
        yield
        linux.unshare(linux.CLONE_FS)  # threads share a place in the mount table; who does may not change it
        for fd, kind in zip(fds, (linux.CLONE_NEWNET, linux.CLONE_NEWNS), strict=True):
            linux.setns(fd, kind)
        os.chdir(place)
    finally:
        for fd in fds:
            os.close(fd)

"""
Services of the lab's nodes, where no init system runs.

Used by ``providers: {service: labservice}``. A service is a file ``/run/lab/services/NAME.json`` with its ``argv``, the
directory ``cwd`` to start it in and ``ready``, a file that it makes once it works.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

__virtualname__ = "labservice"

PLACE = Path("/run/lab/services")
STATE = Path("/run/lab-services")
START_LIMIT = 10.0
TERM_LIMIT = 5.0
KILL_LIMIT = 2.0


def __virtual__():  # noqa: N807 (that is what Salt calls it)
    return __virtualname__ if PLACE.is_dir() else (False, "labservice: this machine is no node of the lab")


def _wanted(name):
    return json.loads((PLACE / f"{name}.json").read_text(encoding="utf-8"))


def _pid(name):
    """The process of a service; 0 when it does not run."""
    try:
        pid = int((STATE / f"{name}.pid").read_text(encoding="ascii"))
        state = (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="ascii", errors="replace")
            .rpartition(")")[2]
            .split()[0]
        )
    except (OSError, ValueError):
        return 0
    return 0 if state in "ZX" else pid


def _wait(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def get_all():
    """
    List the services of this node.

    CLI Example:

    .. code-block:: bash

        salt '*' service.get_all
    """
    return sorted(path.stem for path in PLACE.glob("*.json"))


def available(name):
    """
    Whether this node knows a service.

    CLI Example:

    .. code-block:: bash

        salt '*' service.available ledger
    """
    return name in get_all()


def missing(name):
    """
    Whether this node does not know a service.

    CLI Example:

    .. code-block:: bash

        salt '*' service.missing ledger
    """
    return not available(name)


def status(name, sig=None):
    """
    Whether a service runs.

    CLI Example:

    .. code-block:: bash

        salt '*' service.status ledger
    """
    return bool(_pid(name))


def enabled(name, **kwargs):
    """
    Whether a service starts at boot: none of the lab does.

    CLI Example:

    .. code-block:: bash

        salt '*' service.enabled ledger
    """
    return False


def disabled(name, **kwargs):
    """
    Whether a service does not start at boot.

    CLI Example:

    .. code-block:: bash

        salt '*' service.disabled ledger
    """
    return available(name)


def offline():
    """
    Whether services cannot be started or stopped here. Without this Salt would ask systemd, and its states would do nothing.

    CLI Example:

    .. code-block:: bash

        salt '*' service.offline
    """
    return False


def start(name):
    """
    Start a service. True once it works.

    CLI Example:

    .. code-block:: bash

        salt '*' service.start ledger
    """
    if not available(name):
        return False
    if status(name):
        return True
    wanted = _wanted(name)
    ready = Path(wanted["ready"])
    ready.unlink(missing_ok=True)
    STATE.mkdir(exist_ok=True)
    with open(STATE / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            wanted["argv"],
            cwd=wanted["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (STATE / f"{name}.pid").write_text(str(process.pid), encoding="ascii")
    _wait(lambda: ready.exists() or process.poll() is not None, START_LIMIT)
    return ready.exists() and process.poll() is None


def stop(name):
    """
    Stop a service. True when nothing of it is left; a process that is stuck on a disk stays.

    CLI Example:

    .. code-block:: bash

        salt '*' service.stop ledger
    """
    for sign, limit in ((signal.SIGTERM, TERM_LIMIT), (signal.SIGKILL, KILL_LIMIT)):
        pid = _pid(name)
        if not pid:
            return True
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            return True
        if _wait(lambda: not _pid(name), limit):
            return True
    return False


def restart(name):
    """
    Stop a service and start it again.

    CLI Example:

    .. code-block:: bash

        salt '*' service.restart ledger
    """
    return stop(name) and start(name)

"""
Operate protected resources from the master.

``status`` and ``plan`` only look; ``recover`` is what the reactor calls and is safe at any time; ``switchover`` moves cleanly or
not at all; ``failover`` fences if it must. Every answer is plain data with a documented form (docs/operation.md); the exit code
says whether it went well. Configuration: docs/configuration.md.

:depends: pyvmomi (``saltext-vmdk[master]``)
"""

import logging
import os
import subprocess
import sys

# --- bootstrap: the same in every Salt file, written by scripts/bootstrap_block.py
_WANT = "0.1.0"
import importlib as _importlib
import os as _os
import sys as _sys

_UTILS = _os.path.join(_os.path.dirname(_os.path.dirname(_os.path.abspath(__file__))), "utils")
if _os.path.isdir(_os.path.join(_UTILS, "vmdk_failover")) and _UTILS not in _sys.path:
    _sys.path.append(_UTILS)  # a daemon that started before the first sync does not look there
    _importlib.invalidate_caches()
import vmdk_failover

if getattr(vmdk_failover, "__version__", "") != _WANT:  # imported before a sync brought another one
    for _name in [_n for _n in _sys.modules if _n.partition(".")[0] == "vmdk_failover"]:
        del _sys.modules[_name]
    _importlib.invalidate_caches()
    import vmdk_failover
_FOUND = getattr(vmdk_failover, "__version__", "none")
_REFUSAL = (
    f"vmdk: {__file__} is of version {_WANT}, but {vmdk_failover.__path__[0]} of {_FOUND}; "
    "deploy saltext-vmdk either by saltutil.sync_all or by pip, not by both"
)
if _FOUND == _WANT:
    _REFUSAL = ""
# --- end of bootstrap
import salt.client
import salt.utils.event

from vmdk_failover import app, describe, errors, operate, supervisor
from vmdk_failover import protect as protecting

__virtualname__ = "vmdk"

log = logging.getLogger(__name__)


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def _with_app(work):
    """Call ``work`` with the product on this master; an error becomes an answer with ``error`` and ``code``."""
    try:
        bus = salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False)
        with salt.client.get_local_client(mopts=__opts__) as client, bus:
            here = app.App(__opts__, client, lambda entry: _tell(bus, entry), log.warning)
            try:
                return _judged(work(here))
            finally:
                here.close()
    except errors.FailoverError as err:
        return _judged({"ok": False, "error": err.reason, "code": err.code})


def _tell(bus, entry):
    log.info("%s", describe.sentence(entry))
    bus.fire_event(
        {**entry, "sentence": describe.sentence(entry)}, f"vmdk-move/{entry['resource']}/{entry['what']}"
    )


def _judged(answer):
    """Add ``retcode`` to an answer that is a failure: that is what makes ``salt-run`` exit with it."""
    if isinstance(answer, dict) and answer.get("ok", True) is False:
        __context__["retcode"] = 1
        return {**answer, "retcode": 1}
    return answer


def recover(name, wait=True):
    """
    Look at a resource and do what follows: nothing, a local recovery, a failover, or hold. What the reactor calls.

    name
        The resource.

    wait
        Wait for the end and return it. With ``False`` the master's engine does it and this returns at once.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.recover pgdata
    """
    if wait:
        return _with_app(lambda here: operate.recover(here, name))
    answer = supervisor.hint(app.state_dir(__opts__) / "engine.sock", str(name))
    if answer is None and str(name) not in app.names(__opts__):  # whoever sent the event chose the name
        return {"accepted": False, "engine": False}
    if answer is None:
        _start_apart(str(name))
        return {"accepted": True, "engine": False}
    return answer


def _start_apart(name):
    """Without an engine the look runs in a process of its own; slower to start, but nobody waits for it."""
    code = "import sys; from salt.scripts import salt_run; sys.argv[0] = 'salt-run'; salt_run()"
    conf = os.path.dirname(__opts__["conf_file"])
    argv = [sys.executable, "-c", code, "-c", conf, "vmdk.recover", f"name={name}"]
    subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def status(name=""):
    """
    Where each resource runs, its health, and the readiness of every backup.

    name
        One resource; all if left out.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.status
        salt-run vmdk.status pgdata --out=json
    """
    return _with_app(lambda here: operate.status(here, name))


def plan(name, target=""):
    """
    Dry run: what would be done now and why. If all is well, what a switchover would do.

    name
        The resource.

    target
        Minion id of the node to move to; the best one if left out.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.plan pgdata target=db2
    """
    return _with_app(lambda here: operate.plan(here, name, target))


def switchover(name, target="", test=False):
    """
    Move a resource to another node as planned: cleanly or not at all, no fence.

    name
        The resource.

    target
        Minion id; the best ready node if left out.

    test
        Only say what would be done, as ``plan``.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.switchover pgdata target=db2
    """
    act = operate.plan if test else operate.switchover
    return _with_app(lambda here: act(here, name, target))


def failover(name, target="", test=False):
    """
    Move a resource to another node whatever it takes short of a safety rule; the old node is fenced if it must be.

    name
        The resource.

    target
        Minion id; the best ready node if left out.

    test
        Only say what would be done, as ``plan``.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.failover pgdata
    """
    act = operate.plan if test else operate.failover
    return _with_app(lambda here: act(here, name, target))


def pause(name):
    """
    Maintenance: go on watching, do nothing with the resource until ``resume``.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.pause pgdata
    """
    return _with_app(lambda here: operate.pause(here, name, os.environ.get("SUDO_USER", "")))


def resume(name):
    """
    End maintenance of a resource.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.resume pgdata
    """
    return _with_app(lambda here: operate.resume(here, name))


def clear(name):
    """
    Acknowledge a hold or damping: failed tries are forgotten, an open move is closed, the world is judged anew.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.clear pgdata
    """
    return _with_app(lambda here: operate.clear(here, name))


def history(name=""):
    """
    What happened, oldest first, with durations.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.history pgdata
    """
    return _with_app(lambda here: operate.history(here, name))


def protect(name, node, mountpoint, backups, **options):
    """
    Protect a file system that is mounted on ``node``: find its VMDK, check every node, record the resource.

    name
        What the resource is to be called.

    node
        Minion id of the node that has it mounted now.

    mountpoint
        Where it is mounted there.

    backups
        Minion ids of the backups in order of preference, a list or separated by commas.

    options
        Options of the resource, for example ``on_error=halt services=postgresql`` (docs/configuration.md).

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.protect pgdata node=db1 mountpoint=/srv/pgdata backups=db2,db3
    """
    wanted = {key: value for key, value in options.items() if not key.startswith("__")}
    if "services" in wanted:
        wanted["services"] = _listed(wanted["services"])

    def work(here):
        done = protecting.protect(here, name, node, mountpoint, _listed(backups), wanted)
        minions = [n.minion for n in here.resource(name).nodes]
        # they are told now and not with the next refresh: without its key a node is silent
        told = here.call.ask(
            minions, "saltutil.refresh_pillar", {"wait": True, "timeout": 10}, 12.0, lambda *_: True
        )
        late = [minion for minion in minions if told.get(minion) is not True]
        if late:
            words = (
                f"{', '.join(late)} did not fetch the pillar; run 'salt {late[0]} saltutil.refresh_pillar'"
            )
            done["findings"].append(words)
        return done

    return _with_app(work)


def rules():
    """
    The tables of rules by which everything is decided.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.rules --out=json
    """
    found = {"policy": {}, "steps": {}}
    for row in describe.table():
        found[row["table"]][row["rule"]] = f"{row['when']}: {row['then']}"
    return found


def _listed(value):
    return (
        [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)
    )

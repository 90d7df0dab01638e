"""
Local view of protected disks on a node: what is mounted, what the prober says, what a failover would find here.

Nothing in this module waits for a watched disk: it answers also while the disk hangs, and with ``salt-call --local`` also
without a master (the beacon keeps a copy of the resources in ``state_dir``). On a node the resources, the beacon's
settings and the node's signing key come from the master by pillar (``ext_pillar: [{vmdk: {}}]``).

Configuration of a node (minion configuration, all optional):

.. code-block:: yaml

    vmdk:
      state_dir: /run/vmdk               # must be on a tmpfs: what it says is true for one boot only
      sysrq_path: /proc/sysrq-trigger    # where a halt is written to
      watchdog: /dev/watchdog0           # armed by a halt as its backstop; nobody else may feed it; none if left out

:depends: nothing but Salt; ``pyinotify`` for faster detection
"""

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
import time

import salt.exceptions
import salt.utils.path

from vmdk_failover import errors
from vmdk_failover.commands import arguments
from vmdk_failover.guest import check as checking
from vmdk_failover.guest import doctor as doctoring
from vmdk_failover.guest import doctor_services, goodbye, heartbeat, in_use, known, node, survey, text
from vmdk_failover.model import MountState, resource_from_plain, to_plain

__virtualname__ = "vmdk"
__func_alias__ = {"status_": "status"}
__outputter__ = {"status_": "vmdk", "check": "vmdk", "users": "vmdk", "doctor": "vmdk"}


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def facts(resource, nonce):
    """
    Answer a question of the master about a resource, signed. Touches no disk.

    resource
        The resource in plain form, as the master has it.

    nonce
        The question's number; it is part of what is signed.

    CLI Example:

    .. code-block:: bash

        salt-call vmdk.facts '{...}' 0123   # asked by the master; people use vmdk.status
    """
    try:
        return _here().answer(resource_from_plain(resource), str(nonce))
    except errors.FailoverError as err:
        raise salt.exceptions.CommandExecutionError(err.reason) from err
    except (KeyError, TypeError) as err:
        raise salt.exceptions.SaltInvocationError(
            f"the question has a form that is not understood: {err!r}"
        ) from err


def all_facts(names, nonce):
    """
    Answer a question of the master about several resources at once, each signed. Touches no disk.

    names
        The resources that the master asks about; those that this node does not know are left out.

    nonce
        The question's number; it is part of what is signed.

    CLI Example:

    .. code-block:: bash

        salt-call vmdk.all_facts '[pgdata]' 0123   # asked by the master; people use vmdk.status
    """
    mine = _resources()
    try:
        return _here().answers([mine[name] for name in names if name in mine], str(nonce))
    except errors.FailoverError as err:
        raise salt.exceptions.CommandExecutionError(err.reason) from err


def leaving(wait=90):
    """
    Tell the master, signed, that this machine shuts down, and wait until the resources with ``on_shutdown: switchover`` have left
    it. Called by the systemd unit of ``vmdk.shutdown_unit``; without a shutdown that follows, the resources with
    ``on_shutdown: stay`` are merely not moved for three minutes.

    wait
        Seconds at most. What nobody begins to move is waited for 20 seconds.

    Returns ``announced``, and the names of those that have ``left`` and that ``stayed``. Fails if the node has no key yet.

    CLI Example:

    .. code-block:: bash

        salt-call vmdk.leaving
        salt-call vmdk.leaving wait=30
    """
    here, tag = _here(), f"{goodbye.TAG}{__opts__['id']}"
    if not here.key:
        raise salt.exceptions.CommandExecutionError(f"{__opts__['id']} has no key: nothing is protected here")

    def say():
        return bool(
            __salt__["event.send"](tag, goodbye.word(here.minion, here.key, heartbeat.own_address(__opts__)))
        )

    resources = list(_resources().values())
    return goodbye.Goodbye(resources, here.facts, say, time.monotonic, time.sleep).leave(float(wait))


def shutdown_unit(wait=90, services=()):
    """
    The systemd unit that calls ``vmdk.leaving`` when this machine shuts down or reboots, as a text for ``file.managed``. It is
    ordered after the ``services`` of all resources that this node may hold, so that systemd stops them only when the shutdown has
    been announced and what is to leave has left. It has to be made anew when a resource gets another service; a highstate does.

    wait
        Seconds at most that a shutdown waits for resources to leave.

    services
        Further ones that are to run until then: those that ``states`` of yours start, as a list or separated by commas.

    CLI Example:

    .. code-block:: bash

        salt-call vmdk.shutdown_unit --out=newline_values_only
        salt-call vmdk.shutdown_unit wait=300 services=nfs-server --out=newline_values_only
    """
    known_ones = [service for one in _resources().values() for service in one.services]
    places = [_os.path.dirname(_os.path.abspath(one)) for one in (_sys.argv[0], _sys.executable)]
    beside = (_os.path.join(place, "salt-call") for place in places)
    call = next(filter(_os.path.exists, beside), None) or salt.utils.path.which("salt-call")
    names = [*known_ones, *arguments.listed(services)]
    return goodbye.unit(call or "/usr/bin/salt-call", __opts__["config_dir"], float(wait), names)


def status_(name=None):
    """
    What this node sees of the resources that it may hold. Needs neither the master nor a working disk.

    ``summary`` and ``do`` are sentences; ``watcher`` tells whether the prober speaks, of which version it is and which of
    its sources are live.

    name
        One resource; all if left out.

    CLI Example:

    .. code-block:: bash

        salt-call vmdk.status
        salt-call --local vmdk.status pgdata --out=json
    """
    resources = _resources()
    wanted = resources if name is None else {name: _resource(name)}
    here = _here()
    watcher = here.watcher()
    found = {one: to_plain(here.facts(body)) for one, body in wanted.items()}
    return {
        one: {**text.summary(one, facts, watcher), **facts, "watcher": watcher}
        for one, facts in found.items()
    }


def is_active(name):
    """
    Whether all file systems of a resource are mounted here; what is not known is ``False``. For ``onlyif`` of a state that writes
    to the resource, on the nodes of which only one has it. Touches no disk, needs no master.

    name
        The resource. Fails if this node does not know it, and so does a state that asks for it.

    CLI Example:

    .. code-block:: bash

        salt-call vmdk.is_active pgdata
    """
    return _here().facts(_resource(name)).mounted is MountState.MOUNTED


def check(name, timeout=2, write=False):
    """
    Try a resource's disk and file system now: read the disk, look into the file system. Never hangs; the exit code is 1 if
    anything is wrong. On a backup without the disk all is well.

    name
        The resource.

    timeout
        Seconds for all of it.

    write
        Write a block to the hidden file ``.vmdk-probe`` too.

    CLI Example:

    .. code-block:: bash

        salt-call --local vmdk.check pgdata write=True
    """
    found = checking.check(
        _resource(name), node.state_dir(__opts__), deadline_s=float(timeout), write=bool(write)
    )
    if not found.ok:
        __context__["retcode"] = 1
    return to_plain(found)


def users(name):
    """
    Who keeps a resource's file system busy: processes and what they hold, foreign mount namespaces, swap and loop devices.

    name
        The resource.

    CLI Example:

    .. code-block:: bash

        salt-call --local vmdk.users pgdata
    """
    try:
        return in_use.in_use(_resource(name), node.state_dir(__opts__))
    except errors.FailoverError as err:
        raise salt.exceptions.CommandExecutionError(err.reason) from err


def doctor(fail=True):
    """
    What on this node stands in the way of a failover, each with what to do about it. The exit code is 1 if anything is
    an ``error``.

    fail
        With ``False`` the exit code is 0 in any case.

    CLI Example:

    .. code-block:: bash

        salt-call vmdk.doctor
        salt-call --local vmdk.doctor --out=json
    """
    here = _here()
    found = doctoring.findings(
        doctoring.Node(__opts__, __pillar__, _resources(), here.state_dir, here.sysrq, _WANT, salt=__salt__)
    )
    bad = [one for one in found if one.severity == doctoring.ERROR]
    if bad and fail:
        __context__["retcode"] = 1
    return {"ok": not bad, "findings": to_plain(found), "watcher": here.watcher(), **_versions()}


def look(mountpoint="", services=(), states=()):
    """
    What ``protect`` needs to know of this machine: its SMBIOS UUID, what is mounted at ``mountpoint`` and on which disks.

    mountpoint
        The file system to look at; it need not be mounted on a backup.

    services
        Names of services that are to run on it; ``services`` of the answer tells which are not known here, or started by a boot.

    states
        Names of SLS that are to be applied with it; ``services`` of the answer tells which are not known here too.

    CLI Example:

    .. code-block:: bash

        salt-call vmdk.look /srv/pgdata
    """
    try:
        found = to_plain(survey.survey(str(mountpoint)))
    except errors.FailoverError as err:
        found = {"mountpoint": str(mountpoint), "error": err.reason, "code": err.code}
    names = [str(one) for one in states]
    told = [
        *doctor_services.findings([str(one) for one in services], __salt__),
        *doctor_services.unknown_states(names, doctor_services.listed_states(names, __opts__, __salt__)),
    ]
    uuid = str(__grains__.get("uuid", ""))
    return {**found, "smbios_uuid": uuid, "services": [list(one) for one in told], **_versions()}


def version():
    """
    The version of this extension on this node.

    CLI Example:

    .. code-block:: bash

        salt-call vmdk.version
    """
    return _WANT


def _versions():
    """Of this extension, of Salt and of the kernel, which the master compares."""
    told = {"salt": "saltversion", "kernel": "kernelrelease"}
    return {"version": _WANT, **{key: str(__grains__.get(grain, "")) for key, grain in told.items()}}


def _here():
    return node.LocalNode.of(__opts__, __pillar__, __salt__)


def _resources():
    try:
        return known.resources(__pillar__, node.state_dir(__opts__))
    except errors.FailoverError as err:
        raise salt.exceptions.CommandExecutionError(err.reason) from err


def _resource(name):
    try:
        return known.one(_resources(), str(name))
    except errors.FailoverError as err:
        raise salt.exceptions.CommandExecutionError(err.reason) from err

"""
Operate protected resources from the master.

``status`` and ``plan`` only look; ``recover`` is what the reactor calls and is safe at any time; ``switchover`` moves cleanly or
not at all; ``failover`` fences if it must. Every answer is plain data with a documented form (docs/answers.md); the exit code
says whether it went well. Configuration: docs/configuration.md.

:depends: pyvmomi (``saltext-vmdk[master]``)
"""

import contextlib
import logging
import os
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
import salt.runner
import salt.utils.event
import salt.version

from vmdk_failover import app, errors, model
from vmdk_failover.commands import adopt as adopting
from vmdk_failover.commands import (
    apart,
    arguments,
    authentic,
    confirming,
    draining,
    editing,
    examine,
    operate,
    powering,
    rotation,
)
from vmdk_failover.commands import protect as protecting
from vmdk_failover.commands import report as reporting
from vmdk_failover.daemon import appointed, supervisor
from vmdk_failover.judgement import describe
from vmdk_failover.views import live, terminal

__virtualname__ = "vmdk"

log = logging.getLogger(__name__)


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def _with_app(work):
    """Call ``work`` with the product on this master; an error becomes an answer with ``error`` and ``code``."""
    try:
        with _app() as here:
            return _judged(work(here))
    except errors.FailoverError as err:
        return _judged({"ok": False, "error": err.reason, "code": err.code})


@contextlib.contextmanager
def _app():
    """The product on this master, with connections of its own: it is used by one thread at a time."""
    bus = salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False)
    with salt.client.get_local_client(mopts=__opts__) as client, bus:
        here = app.App(__opts__, client, lambda entry: _tell(bus, entry), log.warning, _call_hook)
        try:
            yield here
        finally:
            here.close()


def _call_hook(function, facts):
    """Call a runner function that an administrator has named for fencing."""
    return salt.runner.RunnerClient(__opts__).cmd(function, kwarg=dict(facts), print_event=False)


def _tell(bus, entry):
    body, tag = authentic.announcements(__opts__).event(entry)
    log.info("%s", body["sentence"])
    bus.fire_event(body, tag)
    if _is_for_people() and live.aloud(body, terminal.width(), sys.stderr):
        __context__["vmdk_told"] = sys.stdout.isatty()  # where the answer itself goes


def _is_for_people():
    return __opts__.get("__cli") == "salt-run" and not __opts__.get("output")


def _judged(answer):
    """Add ``retcode`` to an answer that is a failure: that is what makes ``salt-run`` exit with it."""
    if isinstance(answer, dict) and answer.get("ok", True) is False:
        __context__["retcode"] = 1
        answer = {**answer, "retcode": 1}
    return _shown(answer)


def _shown(answer):
    """Have it laid out for a person at ``salt-run``; whoever asks for data, in whatever way, gets them as they are."""
    if not _is_for_people() or terminal.lines(answer) is None:
        return answer
    return {**answer, "outputter": "vmdk", **({"told": True} if __context__.get("vmdk_told") else {})}


def _refused(words):
    return _judged({"ok": False, "error": words, "code": errors.Refused.code})


_asked = arguments.strict(_refused)


@_asked
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
        apart.look(__opts__["conf_file"], str(name))
        return {"accepted": True, "engine": False}
    return answer


@_asked
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


@_asked
def watch(name="", every=2):
    """
    A live view: how all resources stand, and what moves do, until Ctrl-C. Into a pipe it writes what is news, line by line.

    name
        One resource; all if left out.

    every
        Seconds between two looks; what moves do is shown at once.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.watch
        salt-run vmdk.watch pgdata every=5
    """

    def look():
        answer = _with_app(lambda here: operate.status(here, name))
        return terminal.lines(answer, terminal.width()) or [str(answer)]

    with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=True) as ear:
        live.watch(ear, look, authentic.announcements(__opts__).believes, str(name), float(every))
    return ""


@_asked
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


@_asked
def switchover(name, target="", at="", test=False):
    """
    Move a resource to another node as planned: cleanly or not at all, no fence.

    name
        The resource.

    target
        Minion id; the best ready node if left out.

    at
        Do it later: ``22:00`` (the next one) or ``2026-01-31T22:00``. The engine does it, ``vmdk.status`` shows it,
        ``vmdk.cancel`` takes it back, and ``vmdk.history`` tells how it ended.

    test
        Only say what would be done. The exit code is 1 if the request would be refused; with ``at``, if that time cannot be.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.switchover pgdata target=db2 test=True
        salt-run vmdk.switchover pgdata target=db2
        salt-run vmdk.switchover pgdata target=db2 at=22:00
    """
    if at not in ("", None):
        return _with_app(lambda here: appointed.plan(here, str(name), target, at, _who(), bool(test)))
    if test:
        return _with_app(lambda here: operate.plan(here, name, target, model.MoveKind.SWITCHOVER))
    return _with_app(lambda here: operate.switchover(here, name, target))


@_asked
def drain(node, test=False):
    """
    Switch everything over that a node holds, each resource to its best ready backup, several at once; those that depend on each
    other together. If one of them cannot leave cleanly, none is moved, and it is said which and why.

    The node stays a backup: what fails later may come to it. ``vmdk.power_off`` keeps it out.

    node
        Minion id.

    test
        Only say what would be done. The exit code is 1 if something could not leave.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.drain db1 test=True
        salt-run vmdk.drain db1
    """
    return _with_app(lambda here: draining.drain(here, str(node), _app, bool(test)))


@_asked
def cancel(name, test=False):
    """
    Take a planned switchover back.

    name
        The resource.

    test
        Only say which one.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.cancel pgdata
    """
    return _with_app(lambda here: appointed.cancel(here, str(name), bool(test)))


@_asked
def failover(name, target="", test=False):
    """
    Move a resource to another node whatever it takes short of a safety rule; the old node is fenced if it must be.

    name
        The resource.

    target
        Minion id; the best ready node if left out.

    test
        Only say what would be done, with the fence that would follow if the old node did not release the disk. The exit code is 1
        if the request would be refused.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.failover pgdata test=True
        salt-run vmdk.failover pgdata
    """
    if test:
        return _with_app(lambda here: operate.plan(here, name, target, model.MoveKind.FAILOVER))
    return _with_app(lambda here: operate.failover(here, name, target))


@_asked
def pause(name, test=False, **length):
    """
    Maintenance: go on watching, do nothing with the resource until ``resume``.

    name
        The resource, or ``all``.

    for
        It ends by itself after this time, for example ``2h`` or ``90min``.

    test
        Only say what would be done.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.pause pgdata
        salt-run vmdk.pause all for=2h
    """
    if unknown := sorted(set(length) - {"for"}):
        return _refused(f"vmdk.pause takes a name and 'for', not {', '.join(unknown)}")
    return _with_app(lambda here: appointed.pause(here, str(name), length.get("for", ""), _who(), bool(test)))


@_asked
def resume(name, test=False):
    """
    End maintenance of a resource, or of ``all``.

    name
        The resource, or ``all``.

    test
        Only say what would be done.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.resume pgdata
    """
    return _with_app(lambda here: _look_now(appointed.resume(here, str(name), bool(test))))


def _look_now(answer):
    """What a person has changed is looked at now, not with the next event or the engine's next tick."""
    names = answer.get("resumed", answer.get("resources", [answer.get("resource")]))
    for name in () if answer.get("test") else names:
        supervisor.hint(app.state_dir(__opts__) / "engine.sock", name)
    return answer


def _who():
    return os.environ.get("SUDO_USER", "")


@_asked
def clear(name, test=False):
    """
    Acknowledge a hold or damping: failed tries are forgotten, an open move is closed, the world is judged anew. VMs that vCenter
    does not show now are taken as deleted until the next move has ended well; look first which these are (``test=True``).

    name
        The resource.

    test
        Only say which move would end, and which VMs would be taken as deleted.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.clear pgdata test=True
        salt-run vmdk.clear pgdata
    """
    return _with_app(lambda here: _look_now(operate.clear(here, str(name), bool(test))))


@_asked
def adopt(name, test=False):
    """
    Take the world as it is now: when the journal was lost or is an old one, when the master that was at work is gone, or when the
    disk's file was moved. Look at what it would record first (``test=True``).

    name
        The resource.

    test
        Only say what would be recorded.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.adopt pgdata test=True
        salt-run vmdk.adopt pgdata
    """
    return _with_app(lambda here: adopting.adopt(here, str(name), bool(test)))


@_asked
def rotate_keys(test=False):
    """
    Give every node a new key. Until all of them have spoken under the new one the old one counts too; who is waited for is told
    here and by ``vmdk.status``.

    test
        Only say what would be done, and who would be waited for.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.rotate_keys
    """
    return _with_app(lambda here: rotation.rotate_keys(here, bool(test)))


@_asked
def confirm_off(node, test=False):
    """
    Your word that the ESXi host of a node is off: cut from power, or gone for good. It is believed for all protected VMs of
    that host until vCenter shows the host connected again; their resources fail over at once.

    Be sure: if the host still runs and only vCenter has lost it, two VMs may write to one disk. It is refused while anything
    shows that the host or a node on it lives.

    node
        Minion id of a node on that host.

    test
        Only check it, and say for which host, nodes and resources your word would count.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.confirm_off db1 test=True
        salt-run vmdk.confirm_off db1
    """
    return _with_app(lambda here: _look_now(confirming.confirm_off(here, str(node), _who(), bool(test))))


@_asked
def power_off(node, test=False):
    """
    Power the VM of a node off that holds no disk, for maintenance: no move can begin meanwhile, and off is read back. A node that
    holds one is refused; switch its resources over first.

    node
        Minion id.

    test
        Only say what would be done.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.power_off db2
    """
    return _with_app(lambda here: powering.power_off(here, str(node), bool(test)))


@_asked
def history(name=""):
    """
    What happened, oldest first, with durations.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.history pgdata
    """
    return _with_app(lambda here: operate.history(here, name))


@_asked
def report(name, epoch=0, path=""):
    """
    One HTML page of a move, for whoever asks what happened: the timeline drawn, the evidence, the rules, the settings in force.
    It needs nothing from anywhere and has no secrets in it; it is made from what the master has kept.

    name
        The resource.

    epoch
        Number of the move, as ``vmdk.history`` shows it; the last one if left out.

    path
        Absolute path of the file to write, or of a directory; below the state directory if left out.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.report pgdata
        salt-run vmdk.report pgdata epoch=7 path=/srv/reports/pgdata.html
    """
    return _with_app(lambda here: reporting.report(here, str(name), epoch, str(path)))


@_asked
def protect(name, node, mountpoint, backups, test=False, **options):
    """
    Protect a file system that is mounted on ``node``: find its VMDK, check every node, record the resource. The answer has the
    file as it is written.

    name
        What the resource is to be called.

    node
        Minion id of the node that has it mounted now.

    mountpoint
        Where it is mounted there. If several file systems move together, all their mount points, a list or separated by commas.

    backups
        Minion ids of the backups in order of preference, a list or separated by commas.

    test
        Check everything and show what would be written; write nothing.

    options
        Options of the resource, for example ``on_error=halt services=postgresql`` (docs/configuration.md).

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.protect pgdata node=db1 mountpoint=/srv/pgdata backups=db2,db3 test=True
        salt-run vmdk.protect pgdata node=db1 mountpoint=/srv/pgdata backups=db2,db3
        salt-run vmdk.protect pgdata node=db1 mountpoint=/srv/pgdata,/srv/wal backups=db2
    """

    def work(here):
        done = protecting.protect(
            here,
            str(name),
            node,
            mountpoint,
            arguments.listed(backups),
            arguments.options(options),
            bool(test),
            salt.version.__version__,
        )
        return done if test else editing.tell_nodes(here, done, [n.minion for n in here.resource(name).nodes])

    return _with_app(work)


@_asked
def edit(name, add_backup="", remove_backup="", test=False, **options):
    """
    Change options, backups or mounts of a resource, by the same checks as ``protect``. Comments in its file stay. A move under
    way ends as it began.

    name
        The resource.

    add_backup, remove_backup
        Minion ids, a list or separated by commas.

    add_mount
        Mount points, a list or separated by commas, that are mounted on the active node already.

    remove_mount
        Mount points that are mounted nowhere any more: pause the resource and unmount them first.

    mount_options
        A mapping from mount points to their options, which are in force there already; ``null`` records none.

    test
        Check everything and show what would be written; write nothing.

    options
        Options of the resource (docs/configuration.md); ``null`` brings the default back.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.edit pgdata on_error=halt hang_timeout=20 test=True
        salt-run vmdk.edit pgdata add_backup=db3
        salt-run vmdk.edit pgdata add_mount=/srv/pgwal
        salt-run vmdk.edit pgdata mount_options='{/srv/pgdata: noatime}'
    """

    add, remove = arguments.listed(add_backup), arguments.listed(remove_backup)

    def work(here):
        given, mounts = editing.Wanted.parted(arguments.options(options))
        done = editing.edit(here, str(name), given, add, remove, bool(test), salt.version.__version__, mounts)
        return editing.tell_nodes(here, done, done["nodes"]) if done["written"] else done

    return _with_app(work)


@_asked
def unprotect(name, test=False):
    """
    Stop protecting a resource. Its disk and its mount stay where they are; its file is kept under another name.

    name
        The resource.

    test
        Only say what would be done.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.unprotect pgdata test=True
        salt-run vmdk.unprotect pgdata
    """

    def work(here):
        done = editing.unprotect(here, str(name), bool(test))
        return done if test else editing.tell_nodes(here, {**done, "findings": []}, done["nodes"])

    return _with_app(work)


@_asked
def doctor(name=""):
    """
    Everything that would make a failover fail: on this master, in vCenter and on every node, each with the command or the setting
    that mends it. The exit code is 1 if anything is an ``error``.

    name
        One resource; all if left out.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.doctor
        salt-run vmdk.doctor pgdata --out=json
    """
    return _with_app(lambda here: examine.doctor(here, str(name), salt.version.__version__))


@_asked
def genuine(event):
    """
    Whether an event ``vmdk-move/…`` or ``vmdk-state/…`` is this master's own word of the last ten minutes. Any minion can send
    one that looks the same; whatever acts on such events has to ask this first (docs/notification.md).

    event
        All of the event's data, as a mapping or as JSON.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.genuine '{"what": "done", "resource": "pgdata", "at": 1795378536.02, "signature": "…"}'
    """
    return _with_app(lambda here: authentic.answer(here.opts, event))


@_asked
def rules():
    """
    The tables of rules by which everything is decided.

    CLI Example:

    .. code-block:: bash

        salt-run vmdk.rules --out=json
    """
    return _shown(describe.tables())

"""
States of a node for protected disks: the master's orders, and what they are in a highstate.

The master runs ``vmdk.mounted``, ``vmdk.unmounted`` and ``vmdk.halted`` on nodes during a move, with a signed permit for this
one act. Without a permit they change nothing and only say what is so: ``result`` is ``True`` if what the state names is so, and
``False`` if it is not, or if the node knows no such resource. ``vmdk.mounted`` may stand in a highstate of all nodes: on a
backup, whose part it is not to have the resource mounted, it is neither (``None``), so that this node is not red for ever.

A ``require`` asks for ``False`` alone, so it does not keep a backup from what follows. What is to be done only where the resource
is active asks for that itself:

.. code-block:: yaml

    pgdata:
      vmdk.mounted: []

    /srv/pgdata/app.conf:
      file.managed:
        - source: salt://app.conf
        - onlyif:
          - fun: vmdk.is_active
            args: [pgdata]

In an orchestration on the master (``salt-run state.orchestrate``) ``vmdk.active``, ``attached``, ``detached``, ``drained``,
``powered_off`` and ``protected`` bring a resource or a node to where it is wanted. They do it as a switchover does,
under the resource's lock and by the same rules: nothing is attached or detached without release, mount and services.

.. code-block:: yaml

    pgdata:
      vmdk.active:
        - node: db2
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

from vmdk_failover import errors
from vmdk_failover.commands import arguments
from vmdk_failover.guest import highstate, known, node
from vmdk_failover.judgement import standing
from vmdk_failover.model import to_plain

__virtualname__ = "vmdk"


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def mounted(name, resource=None, permit=None, **kwargs):
    """
    The resource's file systems are mounted here and its services run, if this node has the master's permit.

    Without one nothing is done. ``result`` is ``True`` if it is so; ``None`` on a node that does not have the disk, as a backup
    does not, and where it is not known whether the services run; ``False`` if the disk is here and it is not so, and for a
    resource that this node does not know. It is no gate: see ``onlyif`` above.

    name
        The resource.

    resource, permit
        Given by the master during a move; left out in SLS files.

    CLI Example:

    .. code-block:: bash

        salt-call state.single vmdk.mounted pgdata test=True   # without a permit it only says what is so
    """
    return _act(name, "mount", resource, permit)


def unmounted(name, resource=None, permit=None, **kwargs):
    """
    The resource is not in use here: services stopped, users ended, unmounted, and that is proven.

    Without a permit nothing is done. ``result`` is ``True`` if it is so, ``False`` if it is not: mounted, still in use, or not to
    be told; also for a resource that this node does not know. It belongs before what needs the resource gone, not into a
    highstate of all nodes: one of them has it.

    name
        The resource.

    resource, permit
        Given by the master during a move; left out in SLS files.

    CLI Example:

    .. code-block:: bash

        salt-call state.single vmdk.unmounted pgdata test=True   # without a permit it only says what is so
    """
    return _act(name, "release", resource, permit)


def halted(name, resource=None, permit=None, **kwargs):
    """
    This machine halts itself at once without touching the resource's disk.

    Without a permit nothing is done, and ``result`` is ``False``: who answers is not halted.

    name
        The resource.

    resource, permit
        Given by the master during a move; left out in SLS files.

    CLI Example:

    .. code-block:: bash

        salt-call state.single vmdk.halted pgdata test=True   # without a permit it only says what is so
    """
    return _act(name, "halt", resource, permit)


def _act(name, act, resource, permit):
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    here = node.LocalNode.of(__opts__, __pillar__, __salt__)
    if permit is None:
        return {**ret, **_so(here, name, act)}
    try:
        order = here.permitted(resource, permit, act, __opts__["test"])
        if __opts__["test"]:
            return {
                **ret,
                "result": None,
                "changes": {name: {"old": "", "new": act}},
                "comment": f"would {act} {name}",
            }
        done = getattr(here, act)(*order)
    except errors.FailoverError as err:
        answer = here.answer_to(
            resource, permit
        )  # signed, so that nobody else can say no in this node's name
        return {**ret, "result": False, "comment": err.reason, "code": err.code, "answer": answer}
    if done.changed:
        ret["changes"] = {name: {"done": act, "steps": to_plain(done.steps)}}
    return {**ret, "result": done.ok, "comment": done.reason, "code": done.code, "answer": done.answer}


def _so(here, name, act):
    """What is so, seen from a node without a permit."""
    try:
        resource = known.one(known.resources(__pillar__, here.state_dir), str(name))
        result, words = highstate.SAYS[act](resource, here.seen(resource))
    except errors.FailoverError as err:
        return {"result": False, "comment": err.reason, "code": err.code}
    return {
        "result": result,
        "comment": f"{words}; only the master moves it ('salt-run vmdk.status {name}')",
    }


# -- on the master ------------------------------------------------------------------------------------------------


def active(name, node="", force=False):
    """
    The resource is in service on ``node``. If it is elsewhere it is switched over, cleanly or not at all.

    name
        The resource.

    node
        Minion id; any node of it if left out.

    force
        Fail over, with a fence if it must, where a clean switchover is not possible. With ``test=True`` the comment names the
        fence that would or might follow.

    CLI Example:

    .. code-block:: yaml

        pgdata:
          vmdk.active:
            - node: db2
    """
    return _wanted(
        name, lambda here: _on(here["active"]) if node in ("", here["active"]) else "", node, force
    )


def attached(name, node):
    """
    The disk of the resource is attached to ``node``. If it is not, the resource is switched over: there is no disk that is
    attached and not in service.

    name
        The resource.

    node
        Minion id.

    CLI Example:

    .. code-block:: yaml

        pgdata:
          vmdk.attached:
            - node: db2
    """
    return _wanted(name, lambda here: _on(node) if _holds(here, node) is True else "", node)


def detached(name, node):
    """
    The disk of the resource is not attached to ``node``. If it is, the resource is switched over to its best other node.

    name
        The resource.

    node
        Minion id.

    CLI Example:

    .. code-block:: yaml

        pgdata:
          vmdk.detached:
            - node: db1
    """
    return _wanted(
        name, lambda here: f"not {_on(node)}" if _holds(here, node) is False else "", "", away=node
    )


def drained(name, wait=0):
    """
    A node holds nothing. What it holds is switched over, each resource to its best ready backup; if one of them cannot leave
    cleanly, none is moved.

    name
        Minion id.

    wait
        Seconds to wait until everything can leave: after a reboot of another node it takes a moment.

    CLI Example:

    .. code-block:: yaml

        db1:
          vmdk.drained:
            - wait: 60
    """
    said = _drained(name, 0.0 if __opts__["test"] else float(wait))
    if said.get("error"):
        return _ret(name, False, said["error"])
    found = said["resources"]
    changes = {one: {"old": name, "new": found[one]["target"]} for one in said["moved"]}
    if not said["ok"]:
        stays = "; ".join(f"{one}: {way['reason']}" for one, way in found.items() if not way["ok"])
        return _ret(name, False, f"{name} is not drained: {stays}", changes)
    if not changes:
        return _ret(name, True, f"{name} holds nothing")
    words = ", ".join(f"{one} to {way['new']}" for one, way in changes.items())
    if __opts__["test"]:
        return _ret(name, None, f"would be switched over: {words}", changes)
    return _ret(name, True, f"switched over: {words}", changes)


def _drained(name, wait):
    """Have it drained as soon as everything can leave. It is tried once: a release that fails stops services each time."""
    until = time.monotonic() + wait
    while True:
        would = _run("drain", node=name, test=True)
        if would.get("error") or would["ok"] or time.monotonic() >= until:
            break
        time.sleep(min(2.0, max(0.0, until - time.monotonic())))
    idle = __opts__["test"] or would.get("error") or not would["moved"]
    return would if idle else _run("drain", node=name, test=False)


def powered_off(name):
    """
    The VM of a node is off. A node that holds a disk is refused: use ``vmdk.detached`` before.

    name
        Minion id.

    CLI Example:

    .. code-block:: yaml

        db1:
          vmdk.powered_off: []
    """
    said = _run("power_off", node=name, test=__opts__["test"])
    if said.get("error"):
        return _ret(name, False, said["error"])
    if not said["changed"]:
        return _ret(name, True, f"{name} is off")
    changes = {name: {"old": "on", "new": "off"}}
    if __opts__["test"]:
        return _ret(name, None, f"{name} would be powered off", changes)
    return _ret(name, True, f"{name} was powered off", changes)


def protected(name, node="", mountpoint="", backups=None, wait=0, **options):
    """
    The resource is recorded with these backups and options, and a failover would work.

    name
        The resource.

    node, mountpoint, backups
        As for ``salt-run vmdk.protect``, which is done if there is no such resource. Without them it must be there. If it is
        there, ``backups`` that are not recorded are added, and nodes that are neither ``node`` (or the first one, if that is
        left out) nor among ``backups`` are taken out; the order of those that stay is left as it is, and so is ``mountpoint``.

    wait
        Seconds to wait until a failover would work: after a reboot of a node it takes a moment.

    options
        Options of the resource (docs/configuration.md).

    CLI Example:

    .. code-block:: yaml

        pgdata:
          vmdk.protected:
            - node: db1
            - mountpoint: /srv/pgdata
            - backups: [db2]
            - on_error: halt
    """
    test = __opts__["test"]
    chosen = {key: value for key, value in options.items() if not key.startswith("__")}
    wanted = None if backups is None else arguments.listed(backups)
    everything = _run("status")
    if "resources" not in everything:
        return _ret(name, False, _why(everything))
    known = everything["resources"].get(name)
    if known is None:
        given = {"node": node, "mountpoint": mountpoint, "backups": wanted or []}
        said = _run("protect", name=name, test=test, **given, **chosen)
        changes = {name: {"old": "", "new": said.get("text", "")}}
    elif not known["nodes"]:
        return _ret(name, False, known["reason"])
    else:
        said = _recorded(name, list(known["nodes"]), node, wanted, chosen)
        changes = said.get("changes", {})
    if said.get("error"):
        return _ret(name, False, said["error"])
    if test and changes:
        return _ret(name, None, f"{name} would be {'protected' if known is None else 'changed'}", changes)
    reasons = _not_protected(name, 0.0 if test else float(wait))
    return _ret(name, not reasons, "; ".join(reasons) or f"{name} is protected", changes)


def _recorded(name, nodes, node, backups, chosen):
    """Have a resource that is protected already recorded with these backups and options."""
    mine = [node or nodes[0], *(backups or ())]
    more = [] if backups is None else [minion for minion in mine if minion not in nodes]
    less = [] if backups is None else [minion for minion in nodes if minion not in mine]
    if not (more or less or chosen):
        return {"changes": {}}
    return _run("edit", name=name, add_backup=more, remove_backup=less, test=__opts__["test"], **chosen)


def _not_protected(name, wait):
    """Why a failover would not work; waits until it would."""
    until = time.monotonic() + wait
    while True:
        here = _status(name)
        if here["protected"]:
            return []
        if time.monotonic() >= until:
            return here["not_protected_because"]
        time.sleep(min(2.0, max(0.0, until - time.monotonic())))


def _on(node):
    return f"on {node}" if node else ""


def _wanted(name, is_so, target, force=False, away=""):
    """Bring a resource to where ``is_so`` says where it is: to ``target``, or to the best node but ``away``."""
    here = _status(name)
    if here["state"] in ("unknown", "moving", "paused"):
        return _ret(name, False, f"{name} is {here['state']}: {here['reason']}")
    if is_so(here):
        return _ret(name, True, f"{name} is {is_so(here)}")
    if __opts__["test"]:
        return _would(name, here, target, force, away)
    said = _move(name, here, is_so, target, force)
    now = _status(name)
    changes = _moved(name, here, now["active"]) if now["active"] != here["active"] else {}
    return _ret(name, bool(is_so(now)), "; ".join(dict.fromkeys(filter(None, said))), changes)


def _move(name, here, is_so, target, force):
    """What is done, a sentence each: one that is not in service is brought there first, and moved from there."""
    said = []
    if not here["active"]:
        said.append(_why(_run("recover", name=name)))
        here = _status(name)
    if here["active"] and not is_so(here):
        said.append(_why(_run("switchover", name=name, target=target)))
        here = _status(name)
    if force and not is_so(here):
        said.append(_why(_run("failover", name=name, target=target)))
    return said


def _why(said):
    return said.get("reason") or said.get("error") or ""


def _would(name, here, target, force, away):
    """What :func:`_move` would do, by the dry runs of the same requests."""
    asked = {"name": name, "target": target, "test": True}
    plan = _run("switchover", **asked) if here["active"] else _run("plan", name=name)
    if force and not plan.get("ok", plan.get("steps")):
        plan = _run("failover", **asked)
    if not plan.get("ok", plan.get("steps")):
        return _ret(name, False, _why(plan))
    lands = plan["target"]
    further = (target and lands != target) or (away and lands == away)
    place = (target or "another node") if further else lands
    words = f"{name} would be moved: {plan['end']}" + (f", then switched over to {place}" if further else "")
    return _ret(name, None, words + _fences(plan), _moved(name, here, place))


def _fences(plan):
    """Which node would or might be powered off, as part of a sentence."""
    for step in plan["steps"]:
        other = step["otherwise"] or {"step": ""}
        if step["step"].startswith("fence"):
            return f"; {step['node']} would be powered off"
        if other["step"].startswith("fence"):
            return f"; {other['node']} would be powered off if it did not release the disk"
    return ""


def _moved(name, here, now):
    return {name: {"old": here["active"], "new": now}}


def _holds(here, node):
    return here["nodes"].get(node, {}).get("holds")


def _status(name):
    said = _run("status", name=name)
    return said["resources"][name] if "resources" in said else standing.unknown(_why(said))


def _run(function, **kwargs):
    """Call one of our runners; what goes wrong is an answer with ``error``."""
    if __opts__.get("__role") != "master":
        raise salt.exceptions.CommandExecutionError(
            "this state works in an orchestration on the master: 'salt-run state.orchestrate'"
        )
    said = __salt__["saltutil.runner"](f"vmdk.{function}", kwarg=kwargs)
    if not isinstance(said, dict):
        raise salt.exceptions.CommandExecutionError(f"vmdk.{function} failed: {said}")
    return said


def _ret(name, result, comment, changes=None):
    return {"name": name, "result": result, "changes": changes or {}, "comment": comment}

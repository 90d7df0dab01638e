"""
States of a node for protected disks: the master's orders, and what they are in a highstate.

The master runs ``vmdk.mounted``, ``vmdk.unmounted`` and ``vmdk.halted`` on nodes during a move, with a signed permit for this
one act. Without a permit they change nothing: they report where the resource is, so that they can stand in a highstate.

.. code-block:: yaml

    pgdata:
      vmdk.mounted: []
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
from vmdk_failover import errors
from vmdk_failover.guest import node
from vmdk_failover.model import to_plain

__virtualname__ = "vmdk"


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def mounted(name, resource=None, permit=None, **kwargs):
    """
    The resource's file systems are mounted here and its services run, if this node has the master's permit.

    name
        The resource.

    resource, permit
        Given by the master during a move; left out in SLS files.
    """
    return _act(name, "mount", resource, permit)


def unmounted(name, resource=None, permit=None, **kwargs):
    """
    The resource is not in use here: services stopped, users ended, unmounted, and that is proven.

    name
        The resource.

    resource, permit
        Given by the master during a move; left out in SLS files.
    """
    return _act(name, "release", resource, permit)


def halted(name, resource=None, permit=None, **kwargs):
    """
    This machine halts itself at once without touching the resource's disk.

    name
        The resource.

    resource, permit
        Given by the master during a move; left out in SLS files.
    """
    return _act(name, "halt", resource, permit)


def _act(name, act, resource, permit):
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    here = node.LocalNode.of(__opts__, __pillar__, __salt__)
    if permit is None:
        ret["comment"] = _where(name)
        return ret
    try:
        order = here.permitted(resource, permit, act)
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


def _where(name):
    """Where the resource is, seen from a node without a permit."""
    try:
        here = __salt__["vmdk.status"](name)[name]
    except Exception as err:  # Salt's own exceptions lose their type on the way
        return str(err)
    state = "active here" if here["mounted"] == "mounted" else "not active here"
    return f"{name} is {state}; only the master moves it ('salt-run vmdk.status {name}')"

"""
Answers of nodes and of the master as people read them: the most important line first, what to do below it.

``vmdk.status``, ``check``, ``users`` and ``doctor`` on nodes ask for this outputter themselves, as do the runners when they are
called with ``salt-run``; ``--out=json`` shows the whole answer. A machine without it falls back to Salt's own.
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
import salt.output.nested

from vmdk_failover.guest import text
from vmdk_failover.views import columns, terminal

__virtualname__ = "vmdk"


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def output(data, **kwargs):
    """
    Lay out answers by node; what is none of this extension's is left to Salt's ``nested``.

    CLI Example:

    .. code-block:: bash

        salt-call --local vmdk.status --out=vmdk
    """
    if not isinstance(data, dict):
        return "\n".join(map(columns.printable, str(data).splitlines()))
    mine = {key: value for key, value in data.items() if key != "outputter"}
    found = terminal.lines(mine, terminal.width())
    if found is not None:
        return "\n".join(found)
    data = mine
    return "\n".join(part for node, answer in data.items() for part in _one(node, answer, kwargs))


def _one(node, answer, kwargs):
    found = text.lines(answer)
    if found is None:
        salt.output.nested.__opts__ = __opts__
        return [salt.output.nested.output({node: answer}, **kwargs)]
    width = terminal.width()
    parts = (part for line in found for part in columns.wrapped(f"  {line}", width))
    return [f"{columns.printable(str(node))}:", *parts]

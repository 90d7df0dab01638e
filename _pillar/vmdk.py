"""
Hand each node its own share of the configuration: its resources, the beacon's settings, and its signing key.

.. code-block:: yaml

    ext_pillar:
      - vmdk: {}

Nothing of vCenter ever goes to a node, and no node gets another node's key.
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
from vmdk_failover import app
from vmdk_failover.model import to_plain
from vmdk_failover.store import keys

__virtualname__ = "vmdk"


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def ext_pillar(minion_id, pillar, *args, **kwargs):
    """
    Return ``vmdk`` and ``beacons`` for ``minion_id``; only a key for a minion that is no node yet.

    CLI Example:

    .. code-block:: bash

        salt db1 pillar.keys vmdk   # what a node has; never print its key
    """
    found = app.settings(__opts__)
    mine = {n: to_plain(r) for n, r in found.resources.items() if minion_id in {x.minion for x in r.nodes}}
    kept = keys.Keys(app.state_dir(__opts__))
    share = {"key": kept.current(minion_id), "resources": mine}
    if old := kept.old(minion_id):  # the keys are being changed
        share["old_key"] = old
    if not mine:
        return {"vmdk": share}
    return {"vmdk": share, "beacons": {"vmdk": [{"resources": mine}]}}

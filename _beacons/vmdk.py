"""
Watch protected disks and report every failure, once a second, without ever touching a disk.

The disks are probed by a process of their own (``vmdk_failover.guest.prober``); this beacon only reads what that has to say,
without waiting. Its settings come from the master by pillar; nothing needs to be written on a node.

Events: ``salt/beacon/<minion>/vmdk/<resource>/<condition>`` with ``resource``, ``condition``, ``evidence`` (a sentence: what
was seen, by which source), ``since`` (seconds of the node's boot clock), ``seq`` and ``boot_id``. A condition repeats while it
lasts, each second ten times, then once a minute. ``disable_during_state_run`` must stay off: it would make a node blind.
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
import salt.utils.beacons

from vmdk_failover.guest import heartbeat, node, watch
from vmdk_failover.model import resource_from_plain

__virtualname__ = "vmdk"

_WATCH = {}


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def validate(config):
    """
    Check the beacon's configuration: a list with ``resources``, a mapping of names to resources in plain form.
    """
    if not isinstance(config, list):
        return False, "The configuration of the vmdk beacon must be a list; the master's pillar writes it."
    resources = salt.utils.beacons.list_to_dict(config).get("resources")
    if not isinstance(resources, dict):
        return False, "The vmdk beacon needs 'resources', a mapping; the master's pillar writes it."
    for name, plain in resources.items():
        try:
            resource_from_plain(plain)
        except (KeyError, TypeError, ValueError) as err:
            return False, f"The vmdk beacon cannot read the resource {name}: {err!r}."
    return True, "Valid beacon configuration."


def beacon(config):
    """
    Return what is to be reported now: conditions that are not ``ok``, and recoveries.
    """
    plain = salt.utils.beacons.list_to_dict(config)["resources"]
    resources = {name: resource_from_plain(body) for name, body in plain.items()}
    if "watch" not in _WATCH:
        _WATCH["watch"] = watch.Watch(node.state_dir(__opts__))
    reports = _WATCH["watch"].poll(resources)
    beat = heartbeat.of_beacon(node.state_dir(__opts__), __opts__, __pillar__)
    if beat is not None:  # no engine does it
        __salt__["event.fire_master"](beat, f"{heartbeat.TAG}{__opts__['id']}")
    return [{**report, "tag": f"{report['resource']}/{report['condition']}"} for report in reports]


def close(config):
    """
    Let go of the prober; it ends by itself when nobody listens any more.
    """
    if "watch" in _WATCH:
        _WATCH.pop("watch").close()

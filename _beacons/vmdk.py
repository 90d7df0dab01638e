"""
Watch protected disks and report every failure, once a second, without ever touching a disk.

The disks are probed by a process of their own (``vmdk_failover.guest.prober``); this beacon only reads what that has to say,
without waiting. Its settings come from the master by pillar; nothing needs to be written on a node. Where the engine runs on
the node too, both tell the master: what comes twice is one hint more, and does no harm.

Events: ``salt/beacon/<minion>/vmdk/<resource>/<condition>`` with ``resource``, ``condition``, ``evidence`` (a sentence: what
was seen, by which source), ``since`` (seconds of the node's boot clock), ``seq`` and ``boot_id``. A condition repeats while it
lasts, each second ten times, then every ``renotify`` seconds (60). docs/events.md has all events. ``disable_during_state_run``
must stay off: it would make a node blind.
"""

import copy
import logging

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
import salt.utils.event

from vmdk_failover.guest import complaint, duty, given, heartbeat, node, watch

__virtualname__ = "vmdk"

log = logging.getLogger(__name__)

_WATCH = {}
_BUS = {}
_READ = {}


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def validate(config):
    """
    Check the beacon's configuration: a list with ``resources``, a mapping of names to resources in plain form.

    CLI Example:

    .. code-block:: bash

        salt db1 beacons.list   # what the pillar brings; the minion says in its log what is wrong with it
    """
    fault = _read(config)[1]
    return not fault, fault or "Valid beacon configuration."


def beacon(config):
    """
    Return what is to be reported now: conditions that are not ``ok``, and recoveries.

    CLI Example:

    .. code-block:: bash

        salt-run state.event 'salt/beacon/db1/vmdk/*' pretty=True   # on the master, to see its reports
    """
    state_dir = node.state_dir(__opts__)
    if "watch" not in _WATCH:
        _WATCH["watch"] = watch.Watch(state_dir)
    reports = _WATCH["watch"].poll(_read(config)[0])
    duty.sign(state_dir)
    beat = heartbeat.of_beacon(state_dir, __opts__, __pillar__)
    if beat is not None:  # no engine does it
        _fire(f"{heartbeat.TAG}{__opts__['id']}", beat)
        if "complaints" not in _WATCH:
            _WATCH["complaints"] = complaint.Complaints(state_dir)
        for word in _WATCH["complaints"].due(str(__opts__["id"]), str(__pillar__["vmdk"]["key"])):
            _fire(f"{complaint.TAG}{word['minion']}", word)
    return [{**report, "tag": f"{report['resource']}/{report['condition']}"} for report in reports]


def close(config):
    """
    Let go of the prober; it ends by itself when nobody listens any more.

    CLI Example:

    .. code-block:: bash

        salt db1 beacons.disable_beacon vmdk
    """
    if "watch" in _WATCH:
        _WATCH.pop("watch").close()
    _let_go()


def _fire(tag, data):
    """``event.fire_master`` opens the minion's bus for each event, which takes three times as much of its main loop."""
    if "bus" not in _BUS:
        _BUS["bus"] = salt.utils.event.MinionEvent(dict(__opts__), listen=False)
    wrapped = {"data": data, "tag": tag, "events": None, "pretag": None}
    try:
        arrived = _BUS["bus"].fire_event(wrapped, "fire_master")
    except Exception as err:  # Salt's bus raises its own, tornado's and zmq's errors
        log.debug("vmdk: the minion's bus is opened anew (%s)", err)
        arrived = False
    if not arrived:
        _let_go()


def _let_go():
    if "bus" in _BUS:
        _BUS.pop("bus").destroy()


def _read(config):
    """Salt checks the configuration before each call, once a second: what was read is kept as long as it is the same."""
    if isinstance(config, list):  # Salt puts its own word in between check and call
        config = [one for one in config if not (isinstance(one, dict) and "_beacon_name" in one)]
    if _READ.get("config") != config:
        _READ["read"] = given.read(config)
        _READ["config"] = copy.deepcopy(config)
    return _READ["read"]

"""
The watcher of master and nodes; one file, it knows its role.

On the master: takes hints (events by way of the reactor, vCenter's stream of changes, a tick) and runs every look and every
move in a process of its own. Without it a dead VM is noticed only when somebody calls ``vmdk.recover``.

On a node (optional): sends the prober's reports at once over a request channel of its own, also while the minion is busy.
Without it the beacon does the same once a second.

.. code-block:: yaml

    engines:
      - vmdk: {}
"""

import logging
import os

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
import salt.channel.client
import salt.client
import salt.minion
import salt.utils.event

from vmdk_failover import app, describe, listening, reachable, supervisor, unfinished, watching
from vmdk_failover.guest import heartbeat, node, watch

__virtualname__ = "vmdk"

log = logging.getLogger(__name__)


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def start(tick=30):
    """
    Run until the daemon ends.

    tick
        On the master: seconds between two looks at every resource when nothing at all happens.
    """
    if __opts__["__role"] == "master":
        _on_master(float(tick))
    else:
        _on_node()


# -- master -------------------------------------------------------------------------------------------------------


def _on_master(tick):
    opts = dict(__opts__)
    supervisor.Supervisor(
        path=app.state_dir(opts) / "engine.sock",
        recover=lambda name, alive: _recover(opts, name, alive),
        watches=[lambda: _watch(opts), lambda: _listen(opts), lambda: _find_unfinished(opts)],
        names=lambda: app.names(opts),
        log=log.warning,
        tick=tick,
    ).serve()


def _recover(opts, name, alive):
    """One look at one resource and what follows from it; runs in a process of its own."""
    bus = salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False)
    with salt.client.get_local_client(mopts=opts) as client, bus:

        def tell(entry):
            alive(float(entry.get("within", 0.0)))
            log.info("%s", describe.sentence(entry))
            tag = f"vmdk-move/{entry['resource']}/{entry['what']}"
            bus.fire_event({**entry, "sentence": describe.sentence(entry)}, tag)

        here = app.App(opts, client, tell, log.warning)
        report = here.run(name)
        here.close()
    if report.result == "busy":
        log.info("%s: %s", name, report.reason)


def _watch(opts):
    """vCenter's stream; each change of a protected VM becomes an event for the reactor."""
    with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:
        here = app.App(opts, client=None, warn=log.warning)
        watching.watch_for_ever(
            here, lambda name, what: bus.fire_event({"resource": name, "what": what}, f"vmdk/{name}/{what}")
        )


def _listen(opts):
    """The nodes' heartbeats; silence becomes an event for the reactor."""
    ear = salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=True)
    with ear, salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:

        def take(seconds):
            data = ear.get_event(wait=seconds, tag=listening.TAG, match_type="startswith")
            return data.get("data", data) if isinstance(data, dict) else data

        def hint(name, silent):
            bus.fire_event({"resource": name, "what": "silent", "node": silent}, f"vmdk/{name}/silent")

        listening.listen_for_ever(app.App(opts, client=None, warn=log.warning), take, hint)


def _find_unfinished(opts):
    """Moves that a crash left open; each becomes an event for the reactor. Also finds out which nodes can be reached."""
    with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:
        here = app.App(opts, client=None)
        unfinished.watch_for_ever(
            here.journal,
            here.lock,
            lambda name, what: bus.fire_event({"resource": name, "what": what}, f"vmdk/{name}/{what}"),
            lambda: reachable.find_out(app.state_dir(opts)),
        )


# -- node ---------------------------------------------------------------------------------------------------------


def _on_node():
    opts = dict(__opts__)
    listener = watch.Watch(node.state_dir(opts), starts=False)
    pulse = heartbeat.Pulse(node.state_dir(opts), opts["id"])
    channel, told = None, True
    while True:
        reports, beat = listener.wait(pulse.left()), None
        if _enrolled(opts):
            beat = pulse.due(opts)
        if not (reports or beat) or not _enrolled(opts):
            continue
        try:
            channel = channel or _channel(opts)
            for report in reports:
                _send(opts, channel, f"vmdk/{report['resource']}/{report['condition']}", report)
            if beat:
                _send(opts, channel, f"{heartbeat.TAG}{opts['id']}", beat)
                pulse.sent()
            told = True
        except Exception as err:  # Salt's channel raises its own, tornado's and zmq's errors
            if told or reports:
                log.warning("vmdk: the master could not be told (%s); it is tried again", type(err).__name__)
            channel, told = _closed(channel), False


def _enrolled(opts):
    """A channel that opens before the minion has met its master makes a second key, and the minion is locked out for good."""
    return all(
        os.path.exists(os.path.join(opts["pki_dir"], name)) for name in ("minion.pem", "minion_master.pub")
    )


def _channel(opts):
    if "master_uri" not in opts:
        opts.update(salt.minion.resolve_dns(opts))
    return salt.channel.client.ReqChannel.factory(opts)


def _closed(channel):
    if channel is not None:
        channel.close()


def _send(opts, channel, tag, data):
    load = {
        "id": opts["id"],
        "cmd": "_minion_event",
        "tag": tag,
        "data": data,
        "tok": channel.auth.gen_token(b"salt"),
    }
    channel.send(load, timeout=3, tries=1)

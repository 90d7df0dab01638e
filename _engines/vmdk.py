"""
The watcher of master and nodes; one file, it knows its role.

On the master: takes hints (events by way of the reactor, vCenter's stream of changes, a tick) and runs every look and every
move in a process of its own. Without it a dead VM is noticed only when somebody calls ``vmdk.recover``.

On a node (optional): sends the prober's reports at once over a request channel of its own, also while the minion is busy.
Without it the beacon does the same once a second; without the beacon it does the beacon's work too, and asks the master for the
pillar once a minute. Each of the two starts the prober if there is none. Where both run, both report; the tags differ. After a
sync of another version it ends by itself, and the minion starts the new one within some seconds; the beacon reports meanwhile.

.. code-block:: yaml

    engines:
      - vmdk: {}
"""

import logging
import os
import pathlib

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

from vmdk_failover import app
from vmdk_failover.commands import authentic
from vmdk_failover.daemon import (
    appointed,
    complaining,
    farewell,
    fitness,
    listening,
    metrics,
    renaming,
    supervisor,
    unfinished,
    watching,
)
from vmdk_failover.guest import complaint, duty, heartbeat, node, renewal, teller, watch
from vmdk_failover.presence import reachable
from vmdk_failover.store import sightings

__virtualname__ = "vmdk"

log = logging.getLogger(__name__)

#: Beginnings of the tags of what nodes sign.
_SIGNED = (listening.TAG, farewell.TAG, renaming.TAG, complaining.TAG)


def __virtual__():
    return (False, _REFUSAL) if _REFUSAL else __virtualname__


def start(tick=30):
    """
    Run until the daemon ends.

    tick
        On the master: seconds between two looks at every resource when nothing at all happens.

    CLI Example:

    .. code-block:: bash

        salt-run state.event 'vmdk*' pretty=True   # on the master, to see what it says
    """
    if __opts__["__role"] == "master":
        _on_master(float(tick))
    else:
        _on_node()


# -- master -------------------------------------------------------------------------------------------------------


def _on_master(tick):
    opts = dict(__opts__)
    watches = [
        lambda: _watch(opts),
        lambda: _listen(opts),
        lambda: _find_unfinished(opts),
        lambda: _check(opts),
    ]
    served = app.settings(opts).metrics
    if served is not None:
        watches.append(lambda: _serve_metrics(opts, served))
    supervisor.Supervisor(
        path=app.state_dir(opts) / "engine.sock",
        recover=lambda name, alive: _recover(opts, name, alive),
        watches=watches,
        names=lambda: app.names(opts),
        log=log.warning,
        warm=lambda: app.warm(opts),
        tick=tick,
    ).serve()


def _recover(opts, name, alive):
    """One look at one resource and what follows from it; runs in a process of its own."""
    bus = salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False)
    own = authentic.announcements(opts)
    with salt.client.get_local_client(mopts=opts) as client, bus:

        def tell(entry):
            alive(float(entry.get("within", 0.0)))
            body, tag = own.event(entry)
            log.info("%s", body["sentence"])
            bus.fire_event(body, tag)

        def call_hook(function, facts):
            import salt.runner  # on masters only, and hardly ever

            return salt.runner.RunnerClient(opts).cmd(function, kwarg=dict(facts), print_event=False)

        here = app.App(opts, client, tell, log.warning, call_hook)
        report = appointed.run(here, name)
        here.close()
    if report.result == "busy":
        log.info("%s: %s", name, report.reason)


def _watch(opts):
    """vCenter's stream; each change of a protected VM becomes an event for the reactor."""
    with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:
        here = app.App(opts, client=None, warn=log.warning)
        seen = sightings.Sightings(app.state_dir(opts))

        def hint(name, what, node, value):
            _hint(opts, bus, seen, "vcenter", name, what, (" is ".join(filter(None, (node, value))), node))

        watching.watch_for_ever(here, hint)


def _hint(opts, bus, seen, who, name, what, told=(), **more):
    """Say at once that somebody should look, and let everybody see it; the reactor may be busy with ten thousand other events."""
    supervisor.hint(app.state_dir(opts) / "engine.sock", name)
    bus.fire_event({"resource": name, "what": what, **more}, f"vmdk/{name}/{what}")
    seen.note(name, who, what, *told)


def _listen(opts):
    """The nodes' heartbeats and reports; silence becomes an event."""
    ear = salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=True)
    seen = sightings.Sightings(app.state_dir(opts))
    with ear, salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:

        def take(seconds):
            event = ear.get_event(wait=seconds, tag="", full=True)
            if not isinstance(event, dict) or not isinstance(event.get("tag"), str):
                return None
            data = event.get("data")
            is_beat = event["tag"].startswith(_SIGNED)
            return event["tag"], data.get("data", data) if is_beat and isinstance(data, dict) else data

        here = app.App(opts, client=None, warn=log.warning)
        listening.listen_for_ever(
            here,
            take,
            lambda name, node: _hint(opts, bus, seen, node, name, "silent", node=node),
            lambda name, node: supervisor.hint(app.state_dir(opts) / "engine.sock", name),
            lambda name, node: _hint(opts, bus, seen, node, name, "booted", node=node),
            lambda ear: {
                farewell.TAG: farewell.Farewells(
                    ear,
                    here.vicinity.leaves,
                    lambda name, node: _hint(opts, bus, seen, node, name, "leaving", node=node),
                ).take,
                renaming.TAG: renaming.Renames(ear, here.vicinity.renames).take,
                complaining.TAG: complaining.Complaints(
                    ear,
                    here.vicinity.complains,
                    lambda name, node: supervisor.hint(app.state_dir(opts) / "engine.sock", name),
                ).take,
            },
        )


def _find_unfinished(opts):
    """
    Moves that a crash left open, and what was appointed for now; each becomes an event for the reactor. Also finds out which
    nodes can be reached.
    """
    with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:
        here, seen = app.App(opts, client=None), sightings.Sightings(app.state_dir(opts))

        def meanwhile():
            reachable.find_out(app.state_dir(opts))
            fresh = app.App(opts, client=None)  # with the configuration as it is now
            for name in appointed.due(fresh):
                _hint(opts, bus, seen, "engine", name, "appointed")
            fresh.close()

        unfinished.watch_for_ever(
            here.journal,
            here.lock,
            lambda name, what: _hint(opts, bus, seen, "engine", name, what),
            meanwhile,
        )


def _check(opts):
    """Whether nodes could take their resources, as far as no look shows it."""
    fitness.check_for_ever(app.App(opts, client=None, warn=log.warning))


def _serve_metrics(opts, at):
    """Metrics for Prometheus; without the client library one sentence in the log, and everything else goes on."""
    metrics.serve_for_ever(app.state_dir(opts), at, lambda: app.names(opts), log.warning)


# -- node ---------------------------------------------------------------------------------------------------------


def _on_node():
    opts, state_dir = dict(__opts__), node.state_dir(__opts__)
    engine = teller.Teller(
        opts,
        watch.Watch(state_dir),
        heartbeat.Pulse(state_dir, opts["id"]),
        duty.Substitute(state_dir),
        connect=lambda: _Line(opts),
        is_enrolled=lambda: _enrolled(opts),
        warn=log.warning,
        complaints=complaint.Complaints(state_dir),
    )
    files = (pathlib.Path(vmdk_failover.__file__), pathlib.Path(__file__))
    newer = renewal.Renewal(*files, version=_WANT)
    while not newer.is_due():
        engine.turn()
    log.info("vmdk: another version is there; the minion starts the engine anew")


def _enrolled(opts):
    return all(
        os.path.exists(os.path.join(opts["pki_dir"], name)) for name in ("minion.pem", "minion_master.pub")
    )


class _Line:
    """A request channel of Salt's that is kept."""

    def __init__(self, opts):
        if "master_uri" not in opts:
            opts.update(salt.minion.resolve_dns(opts))
        self._opts = opts
        self._channel = salt.channel.client.ReqChannel.factory(opts)

    def send(self, tag, data):
        load = {
            "id": self._opts["id"],
            "cmd": "_minion_event",
            "tag": tag,
            "data": data,
            "tok": self._channel.auth.gen_token(b"salt"),
        }
        self._channel.send(load, timeout=3, tries=1)

    def pillar(self):
        load = {
            "id": self._opts["id"],
            "cmd": "_pillar",
            "grains": self._opts.get("grains") or {},
            "saltenv": self._opts.get("saltenv"),
            "pillarenv": self._opts.get("pillarenv"),
            "pillar_override": None,
            "extra_minion_data": {},
            "ver": "2",
        }
        return self._channel.crypted_transfer_decode_dictentry(load, dictkey="pillar", timeout=10, tries=1)

    def close(self):
        self._channel.close()

"""
The ``SaltCall`` port over a Salt ``LocalClient`` that is handed in; this file imports nothing of Salt.

Jobs are published and their returns taken from the event bus with a deadline of our own: ``LocalClient.cmd`` goes on waiting
as long as ``saltutil.find_job`` says that a job runs, which for a job stuck on a hung disk is for ever.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from vmdk_failover.errors import OutcomeUnknown

#: Seconds that publishing itself may take; the master answers in milliseconds unless it is overloaded.
PUBLISH = 5.0
#: A long step: seconds between two questions whether it still runs, for their answer, how many may fail, and for a last look.
EACH, ASK, MISSES, LAST = 5.0, 2.0, 3, 0.2


class LocalCall:
    """
    Calls nodes by a ``salt.client.LocalClient``.

    :param client: the client; used by one thread at a time.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], wait: float
    ) -> Mapping[str, Any]:
        """Call an execution function on several minions at once; those that gave no good return in time are missing."""
        returns = self._run(minions, function, kwargs, wait)
        return {
            m: r["return"]
            for m, r in returns.items()
            if r.get("retcode", 0) == 0 and r.get("out") != "no_return"
        }

    def state(
        self, minion: str, state: str, kwargs: Mapping[str, Any], wait: float
    ) -> Mapping[str, Any] | None:
        """Run one state beside whatever else runs on the minion, even a highstate."""
        told = {"fun": state, **kwargs, "concurrent": True, "test": False}
        returned = self._while_it_runs(minion, told, wait)
        if returned is None:
            return None
        body = returned.get("return")
        if isinstance(body, Mapping) and len(body) == 1:
            only = next(iter(body.values()))
            if isinstance(only, Mapping):
                return only
        return {"result": False, "comment": _text(body), "code": "state_refused"}

    def _while_it_runs(self, minion: str, told: Mapping[str, Any], wait: float) -> Mapping[str, Any] | None:
        """A node that dies during a long step must not cost the whole wait: it is asked whether the job still runs."""
        deadline, missed = time.monotonic() + wait, 0
        job = self._publish([minion], "state.single", told)
        self.client.event.subscribe(f"salt/job/{job}/ret/", "startswith")
        while (left := deadline - time.monotonic()) > 0 and missed < MISSES:
            found = self._gather(job, [minion], min(left, EACH))
            if minion in found:
                return found[minion]
            missed = 0 if self.ask([minion], "saltutil.find_job", {"jid": job}, ASK).get(minion) else missed + 1
        return self._gather(job, [minion], LAST).get(minion)

    def _run(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], wait: float
    ) -> dict[str, Mapping[str, Any]]:
        began = time.monotonic()
        job = self._publish(minions, function, kwargs)
        return self._gather(job, minions, wait - (time.monotonic() - began))

    def _gather(self, job: str, minions: Sequence[str], wait: float) -> dict[str, Mapping[str, Any]]:
        deadline = time.monotonic() + wait
        waiting, found = set(minions), {}
        while waiting and (left := deadline - time.monotonic()) > 0:
            event = self.client.event.get_event(
                wait=left, tag=f"salt/job/{job}/ret/", match_type="startswith"
            )
            if event and isinstance(event.get("id"), str) and event["id"] in waiting:
                waiting.discard(event["id"])
                found[event["id"]] = event
        return found

    def _publish(self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any]) -> str:
        try:
            published = self.client.run_job(
                list(minions), function, [], tgt_type="list", timeout=PUBLISH, kwarg=dict(kwargs), listen=True
            )
        except Exception as err:  # Salt raises SaltClientError, EauthAuthenticationError and tornado's own
            name = type(err).__name__
            raise OutcomeUnknown(
                f"{function} could not be sent to {', '.join(minions)}: {name}; is the salt-master up?"
            ) from err
        job = published.get("jid") if isinstance(published, Mapping) else None
        if not job:
            raise OutcomeUnknown(
                f"{function} was not accepted by the salt-master for {', '.join(minions)}; are their keys accepted?"
            )
        return str(job)


def _text(body: Any) -> str:
    if isinstance(body, (list, tuple)):
        return "; ".join(str(item) for item in body)[:500]
    return str(body)[:500] or "the minion returned nothing"

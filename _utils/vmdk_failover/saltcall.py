"""
The ``SaltCall`` port over a Salt ``LocalClient`` that is handed in; this file imports nothing of Salt.

Jobs are published and their returns taken from the event bus with a deadline of our own: ``LocalClient.cmd`` goes on waiting
as long as ``saltutil.find_job`` says that a job runs, which for a job stuck on a hung disk is for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vmdk_failover.errors import OutcomeUnknown

#: Seconds that publishing itself may take; the master answers in milliseconds unless it is overloaded.
PUBLISH = 5.0
#: A long step: seconds between two questions whether it still runs, for their answer, how many may fail, and for a last look.
EACH, ASK, MISSES, LAST = 5.0, 2.0, 3, 0.2
#: Seconds without an answer between two looks whether the VM is off; so many times longer than a look takes, at least.
GLANCE, RARELY = 0.5, 20.0
#: Seconds longer that an answer is waited for which may be on its way; and after how many of them the answers that were there
#: before it have become old.
ON_TOP, OLD = 6.0, 1.0
#: Salt takes a wait of 0 for one without end (seconds).
SOON = 0.01


#: Whether a minion's return is believed: its id and what it returned.
Sure = Callable[[str, Any], bool]


class LocalCall:
    """
    Calls nodes by a ``salt.client.LocalClient``.

    :param client: the client; used by one thread at a time.
    :param is_off: whether a minion's VM is seen to be off now, so that it will not answer; unknown is no.
    :param may_be_late: whether a minion that has not answered in time may have its answer on its way: it gets ``ON_TOP`` then.
    """

    def __init__(
        self,
        client: Any,
        is_off: Callable[[str], bool] = lambda minion: False,
        may_be_late: Callable[[str], bool] = lambda minion: False,
    ) -> None:
        self.client = client
        self.is_off = is_off
        self.may_be_late = may_be_late

    def ask(
        self,
        minions: Sequence[str],
        function: str,
        kwargs: Mapping[str, Any],
        wait: float,
        sure: Sure | None = None,
    ) -> Mapping[str, Any]:
        """Call an execution function on several minions at once; those that gave no good return in time are missing."""
        began = time.monotonic()
        job = self._publish(minions, function, kwargs)
        # the master's own queue keeps answers back too, for about as long: neither is a node's silence
        returns = self._gather(job, minions, time.monotonic() - began + wait, sure)
        in_time = [one for one in minions if _is_sure(one, returns, sure)]
        began = time.monotonic()
        # looked at again and again, for it may die meanwhile
        while (left := began + ON_TOP - time.monotonic()) > 0:
            late = [one for one in minions if not _is_sure(one, returns, sure) and self.may_be_late(one)]
            if not late:
                break
            returns |= self._gather(job, late, min(left, GLANCE), sure)
        # who answered so quickly does so again, unless it has died meanwhile
        if in_time and time.monotonic() - began > OLD:
            returns = {m: r for m, r in returns.items() if m not in in_time}
            returns |= self._gather(self._publish(in_time, function, kwargs), in_time, wait, sure)
        return {m: r["return"] for m, r in returns.items() if "return" in r and _is_good(r)}

    def state(
        self, minion: str, state: str, kwargs: Mapping[str, Any], wait: float, sure: Sure | None = None
    ) -> Mapping[str, Any] | None:
        """Run one state beside whatever else runs on the minion, even a highstate."""
        told = {"fun": state, **kwargs, "concurrent": True, "test": False}
        returned = self._while_it_runs(minion, told, wait, sure)
        return None if returned is None else _only_state(returned.get("return"))

    def _while_it_runs(
        self, minion: str, told: Mapping[str, Any], wait: float, sure: Sure | None
    ) -> Mapping[str, Any] | None:
        """A node that dies during a long step must not cost the whole wait: vCenter is asked, and the node itself."""
        deadline, missed = time.monotonic() + wait, 0
        job = self._publish([minion], "state.single", told)
        self.client.event.subscribe(f"salt/job/{job}/ret/", "startswith")
        certain = None if sure is None else lambda who, body: sure(who, _only_state(body).get("answer"))
        doubtful: Mapping[str, Any] | None = None
        while (left := deadline - time.monotonic()) > 0 and missed < MISSES:
            found = self._gather(job, [minion], min(left, EACH), certain).get(minion)
            if found is not None and (certain is None or certain(minion, found.get("return"))):
                return found
            doubtful = found or doubtful
            if self.is_off(minion):
                break
            missed = (
                0 if self.ask([minion], "saltutil.find_job", {"jid": job}, ASK).get(minion) else missed + 1
            )
        return self._gather(job, [minion], LAST, certain).get(minion) or doubtful

    def _gather(
        self, job: str, minions: Sequence[str], wait: float, sure: Sure | None = None
    ) -> dict[str, Mapping[str, Any]]:
        """
        Returns of a job by minion. One that is not believed is kept, but the genuine one is waited for all the same, unless
        the minion's VM goes off meanwhile.
        """
        deadline, glance_at = time.monotonic() + wait, time.monotonic() + GLANCE
        waiting, found = set(minions), {}
        while waiting and (left := deadline - time.monotonic()) > 0:
            tag, until_glance = f"salt/job/{job}/ret/", max(SOON, glance_at - time.monotonic())
            event = self.client.event.get_event(
                wait=min(left, until_glance), tag=tag, match_type="startswith"
            )
            who = event.get("id") if event else None
            if event and isinstance(who, str) and who in waiting:
                found[who] = event
                if sure is None or sure(who, event.get("return")):
                    waiting.discard(who)
            if waiting and (began := time.monotonic()) >= glance_at:
                waiting -= self._off(waiting, deadline)
                glance_at = time.monotonic() + max(GLANCE, RARELY * (time.monotonic() - began))
        return found

    def _off(self, minions: Iterable[str], deadline: float) -> set[str]:
        """Those whose VM is off, as far as there is time to look."""
        return {one for one in sorted(minions) if time.monotonic() < deadline and self.is_off(one)}

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


def _is_sure(minion: str, returns: Mapping[str, Mapping[str, Any]], sure: Sure | None) -> bool:
    return minion in returns and (sure is None or sure(minion, returns[minion].get("return")))


def _is_good(returned: Mapping[str, Any]) -> bool:
    return returned.get("retcode", 0) == 0 and returned.get("out") != "no_return"


def _only_state(body: Any) -> Mapping[str, Any]:
    """What the one state of a ``state.single`` came to; a refusal of Salt's own is a failure in its words."""
    if isinstance(body, Mapping) and len(body) == 1:
        only = next(iter(body.values()))
        if isinstance(only, Mapping):
            return only
    return {"result": False, "comment": _text(body), "code": "state_refused"}


def _text(body: Any) -> str:
    if isinstance(body, (list, tuple)):
        return "; ".join(str(item) for item in body)[:500]
    return str(body)[:500] or "the minion returned nothing"

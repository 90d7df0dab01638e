"""Services and the user's own states: in which order they start and stop, and what is told when they do not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from vmdk_failover.errors import StepFailed
from vmdk_failover.guest import doctor, doctor_services
from vmdk_failover.guest.node import Services
from vmdk_failover.model import Resource

RESOURCE = Resource(
    "r", (), (), (), services=("db", "web"), start_states=("vip",), stop_states=("drain", "last")
)


class Minion:
    """Salt's functions on a node; notes what is asked of it."""

    def __init__(self, *refused: str) -> None:
        self.refused, self.asked = refused, list[str]()
        self.salt = {
            "service.start": self._do("start"),
            "service.stop": self._do("stop"),
            "service.status": lambda name: f"stop {name}" in self.refused,
            "state.apply": self._apply,
        }

    def _do(self, word: str) -> Any:
        def act(name: str) -> bool:
            self.asked.append(f"{word} {name}")
            return f"{word} {name}" not in self.refused

        return act

    def _apply(self, name: str, concurrent: bool) -> dict[str, Any]:
        assert concurrent  # a highstate under way must not hold it back
        self.asked.append(f"state {name}")
        return {"x": {"result": f"state {name}" not in self.refused}}


def test_they_start_in_order_and_stop_in_the_other() -> None:
    minion = Minion()
    Services(minion.salt).start(RESOURCE)
    Services(minion.salt).stop(RESOURCE)
    assert minion.asked == [
        "start db",
        "start web",
        "state vip",
        "state drain",
        "state last",
        "stop web",
        "stop db",
    ]


@pytest.mark.parametrize(
    ("refused", "act", "word"),
    [
        ("start web", "start", "the service web did not start"),
        ("state vip", "start", "the state vip failed"),
        ("state drain", "stop", "the state drain failed"),
        ("stop web", "stop", "the service web did not stop"),
    ],
)
def test_what_does_not_do_it_is_named(refused: str, act: str, word: str) -> None:
    minion = Minion(refused)
    with pytest.raises(StepFailed, match=word):
        getattr(Services(minion.salt), act)(RESOURCE)
    assert minion.asked[-1] == refused


def test_without_services_nobody_knows_whether_they_run() -> None:
    assert Services(Minion().salt).running(dataclasses.replace(RESOURCE, services=())) is None


@pytest.mark.parametrize(
    ("there", "opts", "unknown"),
    [
        (["vip", "app.down"], {}, ["app/up"]),
        (["vip", "app.up", "app.down"], {}, []),
        (["vip", "app.down", "app"], {}, ["app/up"]),
        ([], {}, []),  # nothing is known of the file roots
        (["other"], {"file_client": "local"}, []),
        (None, {}, []),
    ],
)
def test_an_sls_that_is_not_there_is_told_before_a_failover_needs_it(
    there: list[str] | None, opts: dict[str, Any], unknown: list[str]
) -> None:
    def listed() -> list[str]:
        if there is None:
            raise OSError("the master does not answer")
        return there

    known = doctor_services.listed_states(["vip"], opts, {"cp.list_states": listed})
    of = dataclasses.replace(RESOURCE, services=(), start_states=("vip", "app/up"), stop_states=("app.down",))
    found = list(doctor_services.of_resource(of, known, {}))
    assert [what.split()[2] for _, what, _ in found] == unknown
    assert all(severity == "error" and "cp.list_states" in do for severity, _, do in found)


def test_an_sls_may_be_named_by_its_init_too() -> None:
    assert list(doctor_services.unknown_states(["app.init", "app/init"], {"app"})) == []


def test_a_doctor_asks_for_the_file_roots_once_and_only_where_an_sls_is_applied(tmp_path: Path) -> None:
    asked: list[str] = []
    salt = {
        "cp.list_states": lambda: asked.append("states") or ["other"],
        "service.available": lambda name: True,
    }
    bare = dataclasses.replace(RESOURCE, start_states=(), stop_states=(), services=())
    for resources, count, errors in (([bare], 0, 0), ([RESOURCE] * 3, 1, 9)):
        named = {f"r{n}": one for n, one in enumerate(resources)}
        found = doctor.findings(doctor.Node({}, {}, named, tmp_path, "/dev/null", "", salt=salt))
        assert (len(asked), sum("the SLS" in one.what for one in found)) == (count, errors)

"""The memory of refused logins."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmdk_failover.vsphere.refusals import FIRST_PAUSE, LONGEST_PAUSE, Refusals


class Wall:
    """A clock that stands still until it is set."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture(params=["memory", "file"])
def refusals(request: pytest.FixtureRequest, tmp_path: Path, wall: Wall) -> Refusals:
    return Refusals(str(tmp_path / "refused") if request.param == "file" else "", wall)


def test_nothing_is_held_back_at_first(refusals: Refusals) -> None:
    assert refusals.wait("svc", "pw") == 0


def test_a_refused_password_waits_and_then_waits_longer(refusals: Refusals, wall: Wall) -> None:
    refusals.note("svc", "pw")
    assert refusals.wait("svc", "pw") == FIRST_PAUSE
    wall.now += FIRST_PAUSE - 1
    assert refusals.wait("svc", "pw") == 1
    wall.now += 1
    assert refusals.wait("svc", "pw") == 0
    refusals.note("svc", "pw")
    assert refusals.wait("svc", "pw") == 2 * FIRST_PAUSE


def test_it_never_waits_longer_than_an_hour(refusals: Refusals) -> None:
    for _ in range(12):
        refusals.note("svc", "pw")
    assert refusals.wait("svc", "pw") == LONGEST_PAUSE


@pytest.mark.parametrize(("user", "password"), [("svc", "other"), ("other", "pw")])
def test_other_credentials_do_not_wait(refusals: Refusals, user: str, password: str) -> None:
    refusals.note("svc", "pw")
    assert refusals.wait(user, password) == 0


def test_success_clears(refusals: Refusals) -> None:
    refusals.note("svc", "pw")
    refusals.clear()
    assert refusals.wait("svc", "pw") == 0


def test_a_clock_set_back_does_not_wait_for_years(refusals: Refusals, wall: Wall) -> None:
    refusals.note("svc", "pw")
    wall.now -= 1_000_000
    assert refusals.wait("svc", "pw") == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"at": 1}'])
def test_a_broken_file_is_no_memory(tmp_path: Path, content: str) -> None:
    path = tmp_path / "refused"
    path.write_text(content)
    refusals = Refusals(str(path))
    assert refusals.wait("svc", "pw") == 0
    refusals.note("svc", "pw")
    assert Refusals(str(path)).wait("svc", "pw") > 0


def test_a_file_that_cannot_be_written_leaves_this_process_its_memory(tmp_path: Path) -> None:
    refusals = Refusals(str(tmp_path / "missing" / "refused"))
    refusals.note("svc", "pw")
    assert refusals.wait("svc", "pw") > 0

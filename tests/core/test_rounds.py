"""The looks of the tick come one after the other, each name once in a round, and give way to looks that were asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmdk_failover.daemon.rounds import MOST, PACE, Round


def turns(one: Round, seconds: float, under_way: int = 0, since: float = 0.0) -> list[tuple[float, str]]:
    """Whose turn came when, asked a hundred times a second."""
    found = []
    for step in range(int(seconds * 100)):
        now = since + step / 100
        name = one.take(now, under_way)
        if name is not None:
            found.append((now, name))
    return found


def test_the_first_comes_at_once_and_the_others_one_after_the_other() -> None:
    one = Round()
    one.begin(["c", "a", "b"])
    assert turns(one, 2) == [(0.0, "a"), (PACE, "b"), (2 * PACE, "c")]


def test_nobodys_turn_comes_while_many_are_under_way() -> None:
    one = Round()
    one.begin(["a"])
    assert turns(one, 2, under_way=MOST) == []
    assert turns(one, 2, under_way=MOST - 1) == [(0.0, "a")]


def test_a_new_round_lets_those_go_first_who_still_wait() -> None:
    one = Round()
    one.begin(["a", "b", "c"])
    assert [name for _, name in turns(one, PACE)] == ["a"]
    one.begin(["a", "b", "c", "0"])
    assert [name for _, name in turns(one, 2, since=1.0)] == ["b", "c", "0", "a"]


def test_who_is_looked_at_for_another_reason_has_had_its_turn() -> None:
    one = Round()
    one.begin(["a", "b"])
    one.drop("a")
    one.drop("nobody")
    assert [name for _, name in turns(one, 2)] == ["b"]


def test_who_is_gone_loses_its_turn() -> None:
    one = Round()
    one.begin(["a", "b"])
    one.begin(["b"])
    assert [name for _, name in turns(one, 2)] == ["b"]


def test_the_wait_ends_when_the_next_turn_comes() -> None:
    one = Round()
    assert one.wait(0.0, 0.5) == 0.5
    one.begin(["a", "b"])
    assert one.wait(0.0, 0.5) == 0.0
    one.take(0.0, 0)
    assert one.wait(0.05, 0.5) == PACE - 0.05
    assert one.wait(PACE + 1, 0.5) == 0.0


@given(st.lists(st.sets(st.sampled_from("abcdefgh")), min_size=1, max_size=5))
def test_everybody_who_is_there_has_a_turn_after_the_last_round_began(rounds: list[set[str]]) -> None:
    one, now = Round(), 0.0
    for names in rounds:
        one.begin(names)
        one.take(now, 0)
        now += PACE
    one.begin(rounds[-1])
    found = [name for _, name in turns(one, 4, since=now)]
    assert sorted(found) == sorted(rounds[-1])

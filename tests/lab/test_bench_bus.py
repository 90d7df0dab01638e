"""The bench of the bus reads what a minion wrote down, and judges it."""

from __future__ import annotations

from lab.bus_calls import Call, parse_calls, row, table


def test_a_line_that_is_being_written_is_left_out() -> None:
    text = "10.5 3.0 1.0 0.5\n11.5 2.0 1.0 0.0\n12.5 1.0 1.0 0."
    assert parse_calls(text) == [Call(10.5, 3.0, 1.0, 0.5), Call(11.5, 2.0, 1.0, 0.0)]


def test_the_wait_for_a_processor_is_not_the_beacons() -> None:
    assert Call(1.0, 50.0, 2.0, 45.0).own_ms == 5.0
    assert Call(1.0, 50.0, 2.0, 49.5).own_ms == 2.0


def test_a_row_is_judged_by_its_median_or_its_longest() -> None:
    figures = [1.0, 2.0, 30.0]
    assert row("x", figures, 10.0)["ok"]
    assert not row("x", figures, 10.0, longest=True)["ok"]
    assert (row("x", figures, 10.0)["median_ms"], row("x", figures, 10.0)["longest_ms"]) == (2.0, 30.0)


def test_nothing_measured_is_not_well() -> None:
    nothing = row("x", [], 10.0)
    assert (nothing["ok"], nothing["n"]) == (False, 0)
    assert table([nothing]).endswith("over")

"""Texts of others on a terminal: they show what they are and do nothing."""

from __future__ import annotations

import pytest

from vmdk_failover.views.columns import harmless, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("db1: größer als – “x” 数据库 🙂", "db1: größer als – “x” 数据库 🙂"),
        ("1\u202f000\u00a0s", "1\u202f000\u00a0s"),  # blanks at which no line ends
        ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\nb\tc\0", r"a\r\nb\tc\x00"),
        ("\x9b2J\x85\x7f", r"\x9b2J\x85\x7f"),
        ("\u202eabc\u2028", r"\u202eabc\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_would_do_something_is_shown_instead(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()


def test_all_of_a_value_is_made_harmless() -> None:
    assert harmless({"a\n": ("\x1b", 1, None), 2: {"b": [True, 1.5]}}) == {
        r"a\n": [r"\x1b", 1, None],
        "2": {"b": [True, 1.5]},
    }

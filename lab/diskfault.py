"""What a disk of the lab does to a request: the faults one can set, as plain values. No I/O here."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

KINDS = ("read", "write", "flush")
ERRORS = {"eio": errno.EIO, "enospc": errno.ENOSPC, "enodev": errno.ENODEV}
USAGE = (
    "use read=, write=, flush= or all= with ok, eio, eio:TIMES, enospc, enodev, hang or delay:SECONDS; "
    "range=FIRST-LAST; ok; stats"
)


@dataclass(frozen=True)
class Action:
    """What happens to one request. errno: fail with it; times: no more than so many (0: all); hang: keep it; delay: seconds to
    wait before it is done."""

    word: str = "ok"
    errno: int = 0
    hang: bool = False
    delay: float = 0.0
    times: int = 0


OK = Action()


@dataclass(frozen=True)
class Faults:
    """The actions in force. first, last: bytes of the disk that reads and writes are hurt in; None: everywhere."""

    read: Action = OK
    write: Action = OK
    flush: Action = OK
    first: int | None = None
    last: int = 0

    def action(self, kind: str, offset: int, length: int) -> Action:
        """What to do with a request of `kind` for `length` bytes at `offset`."""
        if kind != "flush" and self._spares(offset, length):
            return OK
        chosen: Action = getattr(self, kind)
        return chosen

    def _spares(self, offset: int, length: int) -> bool:
        return self.first is not None and (offset + length <= self.first or offset > self.last)

    def changed(self, actions: dict[str, Action]) -> Faults:
        """The same with other actions for some kinds."""
        kept = {kind: actions.get(kind, getattr(self, kind)) for kind in KINDS}
        return Faults(kept["read"], kept["write"], kept["flush"], self.first, self.last)

    def spent(self, kind: str) -> Faults:
        """The same after one request of a kind was hurt."""
        action: Action = getattr(self, kind)
        if not action.times:
            return self
        left = replace(action, times=action.times - 1, word=f"eio:{action.times - 1}")
        return self.changed({kind: left if left.times else OK})

    def words(self) -> dict[str, str]:
        """The actions by kind, as one sets them."""
        return {kind: getattr(self, kind).word for kind in KINDS}

    def without_hang(self) -> Faults:
        """The same, with every hang turned into an I/O error."""
        return self.changed({kind: parse_action("eio") for kind in KINDS if getattr(self, kind).hang})


def parse_action(word: str) -> Action:
    """Read one action. Raises ValueError with a sentence."""
    if word == "ok":
        return OK
    if word in ERRORS:
        return Action(word, errno=ERRORS[word])
    if word == "hang":
        return Action(word, hang=True)
    if word.startswith("eio:") and word[4:].isdecimal() and int(word[4:]):
        return Action(word, errno=errno.EIO, times=int(word[4:]))
    if word.startswith("delay:"):
        return Action(word, delay=_seconds(word))
    raise ValueError(f"{word!r} is no action of a disk; {USAGE}")


def _seconds(word: str) -> float:
    try:
        seconds = float(word[6:])
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise ValueError(f"{word!r} needs a number of seconds from 0 to 3600; {USAGE}")
    return seconds


def apply(faults: Faults, word: str) -> Faults:
    """The faults after one word of the control language. Raises ValueError with a sentence."""
    if word == "ok":
        return Faults()
    key, equals, value = word.partition("=")
    if key == "range" and equals:
        return _with_range(faults, value)
    if not equals or key not in (*KINDS, "all"):
        raise ValueError(f"{word!r} is not understood; {USAGE}")
    action = parse_action(value)
    return faults.changed({kind: action for kind in KINDS if key in (kind, "all")})


def _with_range(faults: Faults, value: str) -> Faults:
    if value == "all":
        return replace(faults, first=None, last=0)
    first, _, last = value.partition("-")
    try:
        low, high = int(first, 0), int(last, 0)
    except ValueError:
        raise ValueError(f"range={value} is not understood; {USAGE}") from None
    if not 0 <= low <= high:
        raise ValueError(f"range={value} ends before it begins; {USAGE}")
    return replace(faults, first=low, last=high)

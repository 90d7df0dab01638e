"""
What speaks against a resource's disk, and what it comes to. No clock and no I/O here.

Each source keeps its own sign, reads apart from writes, and a sign stays until its own source takes it back: so one good
read never hides that writes fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vmdk_failover.model import Condition

STANDBY = "standby"
_WELL, _AWAY = "mounted, and the disk answers", "this node does not have the disk"
#: What is told when several signs are there; the first one wins.
ORDER = (
    Condition.DEVICE_GONE,
    Condition.DEVICE_OFFLINE,
    Condition.HUNG,
    Condition.IO_ERROR,
    Condition.FS_ERROR,
    Condition.WRONG_FILESYSTEM,
    Condition.LAZILY_UNMOUNTED,
    Condition.UNMOUNTED,
    Condition.OPTIONS_CHANGED,
    Condition.NEARLY_FULL,
    Condition.SLOW,
)


@dataclass(frozen=True)
class Sign:
    """One source's word: a condition, what was seen (a sentence), and since when (boot clock, seconds)."""

    condition: str
    evidence: str
    since: float


@dataclass
class Verdict:
    """
    All signs of one resource, by source.

    :param holds: this node has the disk or a mount of it; if not, it is a quiet backup.
    """

    signs: dict[str, Sign] = field(default_factory=dict)
    holds: bool = False
    fine: Sign = field(default_factory=lambda: Sign(STANDBY, _AWAY, 0.0))
    _remark: str = ""

    def remark(self, words: str) -> None:
        """Something was seen that speaks against nobody yet; it is told along with ``ok``."""
        self._remark = words

    def put(self, source: str, condition: Condition, evidence: str, now: float) -> None:
        """A source speaks. Its first evidence for a condition stays, later ones add nothing."""
        old = self.signs.get(source)
        if old is None or old.condition != condition.value:
            self.signs[source] = Sign(condition.value, evidence, now)

    def clear(self, *sources: str) -> None:
        """Sources take their word back."""
        for source in sources:
            self.signs.pop(source, None)

    def has(self, source: str) -> bool:
        """Whether a source speaks against the disk."""
        return source in self.signs

    def says(self, source: str, condition: Condition) -> bool:
        """Whether that is what a source says."""
        return source in self.signs and self.signs[source].condition == condition.value

    def current(self, now: float) -> Sign:
        """What it comes to now."""
        for condition in ORDER if self.signs else ():
            same = [sign for sign in self.signs.values() if sign.condition == condition.value]
            if same:
                self.fine = Sign("", "", 0.0)
                return min(same, key=lambda sign: sign.since)
        word, words = (Condition.OK.value, _WELL) if self.holds else (STANDBY, _AWAY)
        if self.holds and self._remark:
            words = f"{words}; {self._remark}"
        if self.fine.condition != word:
            self.fine = Sign(word, words, now)
        elif self.fine.evidence != words:
            self.fine = Sign(word, words, self.fine.since)
        return self.fine

"""One failover on guests with kernels of their own, every day: image, saved state, power cut, journal.

It makes what it needs in build/guest, which takes two minutes the first time, and wants both cores of a small machine to itself,
so `make test` plays it last and alone.
"""

from __future__ import annotations

import sys

import pytest

from lab import trial
from lab.qemu.guests import Guests
from lab.qemu.scenarios import SCENARIOS

#: Image, saved state, boot, power cut and the boot of a slow day.
pytestmark = pytest.mark.timeout(1500)


def test_a_power_cut_on_guests() -> None:
    """The scenario's own check is that the backup's kernel has replayed the journal of this disk and what was synced is there."""
    settings = trial.Settings("ext4", guests=Guests(), say=lambda words: print(words, file=sys.stderr))
    outcome = trial.run(SCENARIOS["power-cut"], settings)
    assert outcome.ok, outcome
    assert (outcome.lost, outcome.double_holders, outcome.double_mounts) == (0, 0, 0), outcome
    assert outcome.acknowledged > 0 and outcome.readable_ms, outcome
    done = [(step.name, step.node) for step in outcome.steps]
    # the answer of a slow guest may come too late to be waited for; then the product looks, and may try once more
    assert list(dict.fromkeys(done)) == [("detach", "labdb1"), ("attach", "labdb2"), ("mount", "labdb2")], (
        outcome
    )
    assert all(step.outcome == "done" for step in outcome.steps if step.name != "mount"), outcome

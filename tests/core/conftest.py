"""What tests of the simulation share."""

from __future__ import annotations

import pytest

from tests.core.histories import history
from vmdk_failover.judgement import rules


@pytest.fixture
def bad_seed(monkeypatch: pytest.MonkeyPatch) -> int:
    """A product without the row that waits for tasks, and a seed that shows it."""
    table = tuple(row for row in rules.RULES if row.number != 50)
    real = rules.next_verdict
    monkeypatch.setattr(rules, "next_verdict", lambda case: real(case, table))
    return next(seed for seed in range(3000) if history(seed).faults)

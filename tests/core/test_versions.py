"""Two versions that meet: both directions have a sentence of their own."""

from __future__ import annotations

import pytest

from vmdk_failover import versions


def test_the_same_version_is_nothing_to_speak_of() -> None:
    assert versions.difference("db2", "1.2.0", "1.2.0") is None


@pytest.mark.parametrize(
    "had, shown", [("1.1.9", "1.1.9"), ("0.9.10", "0.9.10"), (None, "an older one"), ("", "an older one")]
)
def test_an_older_node_is_to_be_brought_up_to_date(had: object, shown: str) -> None:
    what, do = versions.difference("db2", had, "1.2.0") or ("", "")
    assert what == f"The extension is of version {shown} on db2, of 1.2.0 on this master."
    assert "salt db2 saltutil.sync_all" in do


@pytest.mark.parametrize("had", ["1.2.1", "1.10.0", "2.0"])
def test_a_newer_node_means_that_the_master_is_behind(had: str) -> None:
    what, do = versions.difference("db2", had, "1.2.0") or ("", "")
    assert what == f"The extension is of version {had} on db2, of 1.2.0 on this master."
    assert "salt-run saltutil.sync_all" in do and "restart salt-master" in do

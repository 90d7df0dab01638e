"""Two versions that meet: both directions have a sentence of their own."""

from __future__ import annotations

import importlib.util

import pytest

from tests.packaging.source import ROOT
from vmdk_failover import __version__, versions


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


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("3007.1", ""),
        ("", ""),
        (None, ""),
        ("3006.9", "Salt is of version 3006.9 on db2, of 3007.1 on this master."),
    ],
)
def test_another_salt_is_told(version: object, told: str) -> None:
    assert (versions.of_salt("db2", version, "3007.1") or ("",))[0] == told
    assert versions.of_salt("db2", version, "") is None


@pytest.mark.parametrize(
    ("backup", "holder", "told"),
    [
        ("5.10.0-28-amd64", "6.1.0-18-amd64", True),
        ("5.9.16", "5.10.0-28-amd64", True),
        ("6.1.0-18-amd64", "5.10.0-28-amd64", False),
        ("6.1.0-18-amd64", "6.1.0-21-amd64", False),  # the distribution's own counting
        ("", "6.1.0-18-amd64", False),
        (None, "6.1.0-18-amd64", False),
        ("5.10.0", None, False),
    ],
)
def test_an_older_kernel_of_a_backup_is_told(backup: object, holder: object, told: bool) -> None:
    found = versions.of_kernel("db2", backup, "db1", holder)
    assert (found is not None) is told
    if found:
        assert found[0].startswith(
            f"Linux is older on db2 ({backup}) than on db1 ({holder}), which has the disk: "
        )
        assert found[1] == "Bring db2 to the kernel of db1."


def test_a_node_says_for_protect_which_salt_and_linux_it_has() -> None:
    spec = importlib.util.spec_from_file_location("module_vmdk", ROOT / "_modules" / "vmdk.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__dict__.update(
        __grains__={"uuid": "4237", "saltversion": "3007.1", "kernelrelease": "6.1.0-18"},
        __salt__={},
        __opts__={},
    )
    said = module.look("/proc")
    assert (said["salt"], said["version"], said["smbios_uuid"]) == ("3007.1", __version__, "4237")
    assert said["kernel"] == "6.1.0-18"

"""The commands that docs/install.md prints, and how they are typed in a lab."""

from __future__ import annotations

import re
from collections.abc import Callable

from lab.cluster import Lab
from lab.faultdisk import ROOT

PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")


def blocks(beginning: str) -> list[list[str]]:
    """The commands of each block that the page prints from these words on, up to the next heading."""
    part = PAGE.partition(beginning)[2].partition("\n## ")[0]
    found = re.findall(r"```console\n(.*?)```", part, re.S)
    assert found, beginning
    return [[line[2:] for line in block.splitlines()] for block in found]


def to_serve() -> list[str]:
    """What has a master serve another commit."""
    return blocks("## A new version")[0]


def to_bring() -> list[str]:
    """What brings what is served: to the nodes, then to the master."""
    return blocks("## A new version")[1]


def typed(lab: Lab, line: str, sync: Callable[[str], None]) -> None:
    """
    Type one of them.

    :param sync: ``saltutil.sync_all`` of one node, as often as it takes on a busy machine.
    """
    if line == "systemctl restart salt-master":
        lab.master.restart()
    elif line.startswith("salt-run "):
        lab.master.run(*line.split()[1:], seconds=120)
    else:
        assert line == "salt '*' saltutil.sync_all", line
        for node in lab.nodes:
            sync(node)

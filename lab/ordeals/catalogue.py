"""All that can go wrong in the random campaign, by name, and the stories that are made of it."""

from __future__ import annotations

from collections.abc import Mapping

from lab.ordeals import faults_disk, faults_guest, faults_machine, faults_master, faults_vcenter
from lab.ordeals.fault import Fault
from lab.ordeals.story import Story, story

FAULTS: Mapping[str, Fault] = {
    one.name: one
    for one in (
        *faults_disk.FAULTS,
        *faults_machine.FAULTS,
        *faults_master.FAULTS,
        *faults_vcenter.FAULTS,
        *faults_guest.FAULTS,
    )
}
#: How many times slower a story is told to nodes of each kind: a guest computes ten times slower than in earnest.
PACE: Mapping[str, float] = {"namespaces": 1.0, "qemu": 3.0}


def of(nodes: str) -> dict[str, Fault]:
    """What can go wrong with nodes of a kind, in the order of all. nodes: namespaces or qemu."""
    return {name: one for name, one in FAULTS.items() if nodes in one.nodes}


def told_to(nodes: str, seed: int, number: int) -> Story:
    """The story of an ordeal for nodes of a kind. seed, number: of the campaign and of the ordeal."""
    return story(seed, number, of(nodes), PACE[nodes])

"""All that can go wrong in the random campaign, by name."""

from __future__ import annotations

from collections.abc import Mapping

from lab.ordeals import faults_disk, faults_machine, faults_master, faults_vcenter
from lab.ordeals.fault import Fault

FAULTS: Mapping[str, Fault] = {
    one.name: one
    for one in (
        *faults_disk.FAULTS,
        *faults_machine.FAULTS,
        *faults_master.FAULTS,
        *faults_vcenter.FAULTS,
    )
}

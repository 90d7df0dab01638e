"""
What ``doctor`` and ``protect`` find in vCenter: VMs, hosts and clusters, privileges one by one, what shares a datastore with
protected disks; each with what mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmdk_failover.app import App
from vmdk_failover.errors import FailoverError
from vmdk_failover.finding import ERROR, Found
from vmdk_failover.model import HypervisorFacts, Resource

if TYPE_CHECKING:
    from vmdk_failover.vsphere.findings import Finding

#: Findings that are about a cluster, an account or a datastore, and so are told once for all resources.
_SHARED = frozenset({"ha_off", "cluster_unread", "keeper"})
#: Findings about a VM that vCenter or the guest would refuse the disks for; controllers and slots are seen in every look.
_IN_THE_WAY = frozenset({"enable_uuid", "datastore", "no_permission"})


@dataclass(frozen=True)
class Patient:
    """
    A resource with the VMs that vCenter shows.

    :param refs: managed object ids by node. :param names: names of the VMs by node. :param holder: the node that has the disks.
    """

    resource: Resource
    refs: Mapping[str, str]
    names: Mapping[str, str]
    holder: str


def look(app: App, patients: Sequence[Patient]) -> list[Found]:
    """Everything; what could not be looked at is a finding too."""
    parts: Sequence[Callable[[App, Sequence[Patient]], Iterator[Found]]] = (_vms, _privileges, _datastores)
    found: list[Found] = []
    for part in parts if any(one.refs for one in patients) else ():
        try:
            found += part(app, patients)
        except FailoverError as err:
            found.append(Found(ERROR, f"{err.reason}.", "Look again.", code=err.code))
    return found


def patient(resource: Resource, seen: HypervisorFacts) -> Patient:
    """A resource as vCenter shows it."""
    shown = [vm for vm in seen.vms if vm.ref and vm.present]
    # by UUID alone: under a snapshot the VM lists another file
    uuids = {disk.uuid for disk in resource.disks}
    holder = next((vm.minion for vm in seen.vms if uuids & {one.uuid for one in vm.disks or ()}), "")
    return Patient(
        resource, {vm.minion: vm.ref for vm in shown}, {vm.minion: vm.name for vm in seen.vms}, holder
    )


def in_the_way(app: App, patients: Sequence[Patient]) -> dict[str, dict[str, tuple[str, ...]]]:
    """
    What would keep nodes from taking the disks and is not to be seen in a look: phrases by resource and node.

    :raises FailoverError: vCenter cannot be read.
    """
    from vmdk_failover.vsphere import privileges

    refs = {minion: ref for one in patients for minion, ref in one.refs.items()}
    lacking = privileges.check_privileges(app.session, refs, privileges.TO_TAKE)
    checked = _checked(app, patients)
    told: dict[str, dict[str, tuple[str, ...]]] = {}
    for one in patients:
        mine = told.setdefault(one.resource.name, {})
        for found in (*checked.get(one.resource.name, ()), *lacking):
            if found.code in _IN_THE_WAY and found.node in one.refs:
                mine[found.node] = (*mine.get(found.node, ()), found.sentence)
    return told


def _checked(app: App, patients: Sequence[Patient]) -> dict[str, list[Finding]]:
    from vmdk_failover.vsphere import checks

    groups = {
        one.resource.name: checks.Group(
            one.refs, one.holder, one.resource.disks, bool(one.resource.host_fence)
        )
        for one in patients
        if one.refs
    }
    return checks.check_all(app.session, groups)


def _vms(app: App, patients: Sequence[Patient]) -> Iterator[Found]:
    found = _checked(app, patients)
    for one in patients:
        yield from (_told(finding, one) for finding in found.get(one.resource.name, ()))


def _told(found: Finding, one: Patient) -> Found:
    from vmdk_failover.vsphere import remedies

    do = remedies.remedy(found, one.resource, one.names)
    name = "" if found.code in _SHARED else one.resource.name
    return Found(found.severity, f"{found.sentence}.", do, name, found.node, found.code)


def _privileges(app: App, patients: Sequence[Patient]) -> Iterator[Found]:
    from vmdk_failover.vsphere import privileges

    refs = {minion: ref for one in patients for minion, ref in one.refs.items()}
    reboots = {m: r for one in patients if one.resource.fence_action == "reboot" for m, r in one.refs.items()}
    for some, needed in ((refs, privileges.NEEDED), (reboots, privileges.FOR_REBOOT)):
        for found in privileges.check_privileges(app.session, some, needed) if some else ():
            yield _lacking(app, found)


def _lacking(app: App, found: Finding) -> Found:
    from vmdk_failover.vsphere import remedies

    user = app.settings.vcenter.user if app.settings.vcenter else ""
    return Found(
        ERROR, f"{found.sentence}.", remedies.grant(found.sentence, user), node=found.node, code=found.code
    )


def _datastores(app: App, patients: Sequence[Patient]) -> Iterator[Found]:
    """Privileges on the datastores of the disks, and who should not lie there."""
    from vmdk_failover.vsphere import keepers, privileges

    holders = {one.resource.name: one.refs[one.holder] for one in patients if one.holder in one.refs}
    stores = keepers.stores(app.session, holders.values())
    known = {name: stores.get(ref, {}) for name, ref in holders.items()}
    mine = {
        name: {
            store: moid for store, moid in known.get(name, {}).items() if store in _stores_of(one.resource)
        }
        for one in patients
        for name in (one.resource.name,)
    }
    needed = {
        **privileges.ON_DATASTORES,
        **(privileges.FOR_CLAIMS if app.settings.claims == "vcenter" else {}),
    }
    together = {store: moid for some in mine.values() for store, moid in some.items()}
    for found in privileges.check_datastores(app.session, together, needed) if together else ():
        yield _lacking(app, found)
    vcenter = app.settings.vcenter
    wanted = keepers.marks(vcenter.host, vcenter.port) if vcenter and together else ()
    those = keepers.find(app.session, wanted) if wanted else ()
    for one in patients:
        for found in keepers.judge(those, mine[one.resource.name], one.resource.disks):
            yield _told(found, one)


def _stores_of(resource: Resource) -> set[str]:
    from vmdk_failover.around import datastore_of

    return {datastore_of(disk.path) for disk in resource.disks}

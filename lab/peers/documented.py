"""What other products say of themselves: defaults that cannot be measured here, each with where it is written.

``docs/peers.md`` has them as a table: ``scripts/peers_doc.py --write``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

UNKNOWN = "no public word"

_SIOS = "https://docs.us.sios.com/spslinux"
_SORT = "https://sort.veritas.com/public/documents"
_VCS = f"{_SORT}/vie/7.0/linux/productguides/html/vcs_admin"
_HA = "https://github.com/equelin/vsphere-ha-deepdive/blob/master"
_VMWARE = "https://docs.vmware.com/en/VMware-vSphere"
_CSI = "https://github.com/kubernetes-sigs/vsphere-csi-driver/blob/master/docs/book"


@dataclass(frozen=True)
class Row:
    """One product. Each member is a sentence with its unit; ``UNKNOWN`` where nothing public was found.

    :param disk: when it sees that a disk fails. :param node: when it sees that a node is dead.
    :param decided: when and by what a move is decided. :param back: when the service is there again.
    :param cpu: what watching costs while all is well. :param configured: what an operator writes.
    :param source: where all this is written, as URLs.
    """

    product: str
    disk: str
    node: str
    decided: str
    back: str
    cpu: str
    configured: str
    source: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


#: The members that are sentences, and what they are called before people.
COLUMNS = {
    "disk": "disk fails",
    "node": "node dies",
    "decided": "decided",
    "back": "service back",
    "cpu": "CPU at rest",
    "configured": "configured",
}

ROWS = (
    Row(
        "SIOS LifeKeeper for Linux, VMDK kit",
        "up to 120 s and the check itself (lkcheck every two minutes); a check that comes to its timeout is no fault and is "
        "made again in the next round",
        "15 s: a heartbeat every 5 s, 3 missed on all paths",
        "by one failed check, for a VMDK is not recovered locally; what follows is said in two ways: the overview calls a "
        "transfer of the hierarchy the default, the considerations a halt of the machine (VMDK_ERROR)",
        f"no total; the forced unmount alone up to about 180 s (60 attempts, 3 s apart); of attach and mount {UNKNOWN}",
        UNKNOWN,
        "the kit on every node, https to all ESXi hosts or to vCenter, equal SCSI controllers that share no bus, "
        f"communication paths, a hierarchy and its extensions; of the number of values {UNKNOWN}",
        (
            f"{_SIOS}/9.6.0/en/topic/vmdk-recovery-kit-overview",
            f"{_SIOS}/9.6.1/ja/topic/vmdk-configuration-considerations",
            f"{_SIOS}/9.8.0/en/topic/resource-error-recovery-scenario",
            "https://lkdkuserportal.sios.jp/hc/ja/articles/900002549043",
            f"{_SIOS}/9.7.0/en/topic/tuning-the-lifekeeper-heartbeat",
            f"{_SIOS}/9.5.1/en/topic/parameters-list",
        ),
    ),
    Row(
        "Veritas InfoScale VCS, VMwareDisks",
        "a resource is looked at every 60 s, where its agent is not told at once by the kernel, as of mounts (IMF); one whose "
        "monitor hangs counts after 4 timeouts in a row (FaultOnMonitorTimeouts); whether this monitor reads the "
        f"disk: {UNKNOWN}",
        "21 s: LLT peerinact 16 s, GAB stable 5 s; for virtual machines the vendor advises 32 s instead of 16 s",
        "at once: the choice of the target is negligible beside the rest",
        f"no total: detection, offline at the source and online at the target are added up; of their length {UNKNOWN}; not "
        "while the disk is part of a snapshot",
        "the kernel part minimal, with two heartbeats a second; the agents have the most of it; no figures",
        "ESXDetails with an encrypted password, the disks, the systems with their links (llttab), groups and resources; of "
        f"the number of values {UNKNOWN}",
        (
            f"{_SORT}/sf/5.0MP3/solaris/html/vcs_users/ch_vcs_performance5.html",
            f"{_VCS}/ch01s04s13s06.htm",
            "https://vox.veritas.com/t5/Storage-and-Clustering/SFHA-Solutions-6-0-Use-Cases-for-the-VCS-Intelligent-Monitoring/td-p/452047",
            f"{_VCS}/ch11s03s01s05.htm",
            f"{_SORT}/sf/5.0MP3/solaris/html/vcs_users/ch_vcs_performance14.html",
            f"{_VCS}/ch23s02s08.htm",
            "https://veritas.com/content/support/en_US/doc/81080974-166315496-0/v149823395-166315496",
            "https://imap.filibeto.org/unix/hp-ux/lib/cluster/veritas-sf-ha-docs/docsets/vcs/html/20vcs_perform_vcs608_129521.html",
            f"{_VCS}/ch23s01s01.htm",
            f"{_VCS}/ch23s01s03.htm",
            "https://www.veritas.com/content/support/en_US/doc/107959970-166315503-0/wxrt-tot_v75664550-166315503",
        ),
    ),
    Row(
        "vSphere HA with VMCP",
        "all paths down: 140 s and 180 s more; permanent device loss: at once; nothing inside the guest",
        "a host: 15 s, with heartbeat datastores 18 s, 35 s if it was the master; a guest: not watched, or with VM Monitoring "
        "30 to 120 s and no I/O for 120 s",
        "in the same moment, by the HA agents of the hosts, without vCenter",
        "after the boot of the VM and all that it starts; further attempts after 2, 6, 14 and 30 minutes",
        f"{UNKNOWN}; nothing in the guest",
        "four pages of the cluster's settings: failures and responses, admission control, heartbeat datastores, advanced "
        "options; nothing in the guest",
        (
            f"{_VMWARE}/7.0/com.vmware.vsphere.avail.doc/GUID-D8E38A73-F14F-45A0-90CE-6048EF227C38.html",
            f"{_VMWARE}/7.0/com.vmware.vsphere.storage.doc/GUID-5CC5A990-AC23-4D51-80DD-37F09175E255.html",
            f"{_VMWARE}/6.7/vsphere-esxi-vcenter-server-67-availability-guide.pdf",
            f"{_HA}/restarting_virtual_machines.md",
            f"{_HA}/vm_and_application_monitoring.md",
        ),
    ),
    Row(
        "Kubernetes with the vSphere CSI driver",
        "nothing acts on it; whether the datastore can be reached is noted at the claim every 5 minutes",
        "50 s until the node is called unknown (40 s in older releases)",
        "after 300 s more, which pods tolerate by default; with the out-of-service taint: by hand",
        "after up to 360 s more, until the detach is forced, which can be switched off: some 710 s; with the taint at once",
        UNKNOWN,
        "csi-vsphere.conf with five to eight values, its secret, roles and manifests, a storage class and a claim",
        (
            "https://kubernetes.io/docs/concepts/architecture/nodes/",
            "https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/",
            "https://github.com/kubernetes/kubernetes/pull/120344",
            f"{_CSI}/features/volume_health.md",
            f"{_CSI}/driver-deployment/installation.md",
        ),
    ),
)


def table() -> str:
    """The rows for people, on a terminal."""
    width = max(map(len, COLUMNS.values()))
    lines = []
    for row in ROWS:
        lines += [row.product]
        lines += [f"    {title:{width}} {getattr(row, name)}" for name, title in COLUMNS.items()]
        lines += [f"    {url}" for url in row.source]
    return "\n".join(lines)


def page() -> str:
    """The rows as a table of Markdown, a product each, and below it the sources."""
    heads = [f"| | {' | '.join(row.product for row in ROWS)} |", "|---" * (len(ROWS) + 1) + "|"]
    rows = [
        f"| {title} | {' | '.join(getattr(row, name) for row in ROWS)} |" for name, title in COLUMNS.items()
    ]
    sources = [f"- {row.product}: {', '.join(f'<{url}>' for url in row.source)}" for row in ROWS]
    return "\n".join([*heads, *rows, "", *sources])

"""What other products say of themselves: defaults that cannot be measured here, each with where it is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

UNKNOWN = "no public word"


@dataclass(frozen=True)
class Row:
    """One product. Each member is a sentence with its unit; source: where it is written."""

    product: str
    disk: str
    node: str
    back: str
    source: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


ROWS = (
    Row(
        "SIOS LifeKeeper for Linux, VMDK kit",
        "up to 120 s and the check itself (lkcheck every two minutes); no local recovery of a VMDK",
        "15 s: a heartbeat each 5 s, 3 missed on all paths",
        "then the hierarchy is moved; forced unmount up to about 180 s, sendevent 300 s",
        (
            "https://docs.us.sios.com/spslinux/9.6.0/en/topic/vmdk-recovery-kit-overview",
            "https://docs.us.sios.com/spslinux/9.8.0/en/topic/resource-error-recovery-scenario",
            "https://docs.us.sios.com/spslinux/9.7.0/en/topic/tuning-the-lifekeeper-heartbeat",
            "https://docs.us.sios.com/spslinux/9.9.0/en/topic/parameters-list",
        ),
    ),
    Row(
        "Veritas InfoScale VCS, VMwareDisks",
        "a hung monitor counts after 4 timeouts in a row (FaultOnMonitorTimeouts); errors: " + UNKNOWN,
        "21 s: LLT peerinact 16 s, GAB stable 5 s; vendors advise 32 to 40 s on vSphere",
        UNKNOWN,
        (
            "https://sort.veritas.com/public/documents/vie/7.0/linux/productguides/html/vcs_admin/ch11s03s01s05.htm",
            "https://sort.veritas.com/public/documents/vie/7.0/linux/productguides/html/vcs_admin/ch23s02s08.htm",
            "https://www.veritas.com/support/en_US/doc/79620650-166315431-0/v87705353",
        ),
    ),
    Row(
        "vSphere HA with VMCP",
        "all paths down: 140 s and 180 s more; permanent device loss: at once; nothing inside the guest",
        "15 s, with heartbeat datastores 18 s (host); a guest: 30 to 120 s (VM Monitoring)",
        "and the boot of the VM, with all that it starts",
        (
            "https://docs.vmware.com/en/VMware-vSphere/6.7/vsphere-esxi-vcenter-server-67-availability-guide.pdf",
            "https://github.com/equelin/vsphere-ha-deepdive",
        ),
    ),
    Row(
        "Kubernetes with the vSphere CSI driver",
        "not watched",
        "40 s until NotReady (50 s of late), then 300 s toleration",
        "then up to 360 s to the forced detach: some 700 s; with the out-of-service taint, by hand, at once",
        (
            "https://kubernetes.io/docs/concepts/architecture/nodes/",
            "https://github.com/kubernetes/kubernetes/pull/120344",
            "https://github.com/kubernetes-sigs/vsphere-csi-driver/blob/master/docs/book/known_issues.md",
        ),
    ),
)


def table() -> str:
    """The rows for people."""
    lines = []
    for row in ROWS:
        lines += [row.product]
        lines += [
            f"    disk fails   {row.disk}",
            f"    node dies    {row.node}",
            f"    service back {row.back}",
        ]
        lines += [f"    {url}" for url in row.source]
    return "\n".join(lines)

"""The configuration of the cluster: what an administrator writes, as data, and as the XML that Pacemaker reads.

Every interval and timeout is the agent's own default, and so is everything else that has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

GROUP, DISK, MOUNT, SERVICE = "data", "disk", "fs", "ledger"
Values = Mapping[str, object]


@dataclass(frozen=True)
class Facts:
    """What the configuration speaks of. login: options of the vCenter. program, options, directory: of the service."""

    path: str
    device: str
    fstype: str
    mountpoint: str
    vms: tuple[str, ...]
    login: Values
    program: str
    options: str
    directory: str


@dataclass(frozen=True)
class Operation:
    """How often, how long, how deep. Only a recurring one has an interval."""

    name: str
    timeout: str
    interval: str = "0s"
    level: str = ""


@dataclass(frozen=True)
class Primitive:
    """One resource. kind: class:provider:type, or the type of a fence device."""

    name: str
    kind: str
    values: Values
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True)
class Settings:
    """All of it. group: the members, in the order of their start. prefers: node and score of the group's home."""

    properties: Values
    defaults: Values
    primitives: tuple[Primitive, ...]
    group: tuple[str, ...]
    prefers: tuple[str, int] = ("", 0)
    never: Mapping[str, str] = field(default_factory=dict)


def settings(facts: Facts, nodes: Sequence[str] = ("labdb1", "labdb2")) -> Settings:
    """The configuration for a disk, its file system and a service, with a fence device for each node."""
    disk = {
        "path": facts.path, "device": facts.device, "bus": 1, "unit": 0, "vms": " ".join(facts.vms), **facts.login,
    }  # fmt: skip
    mount = {
        "device": facts.device,
        "directory": facts.mountpoint,
        "fstype": facts.fstype,
        "options": "noatime",
    }
    service = {
        "binfile": facts.program, "cmdline_options": facts.options, "workdir": facts.directory, "user": "root",
    }  # fmt: skip
    fences = tuple(
        Primitive(f"fence-{node}", "fence_lab", {**facts.login, "port": node, "pcmk_host_list": node})
        for node in nodes
    )
    return Settings(
        {"stonith-enabled": "true", "stonith-action": "off"},
        {"resource-stickiness": 100},
        (
            Primitive(DISK, "ocf:lab:vmdk", disk, _operations("60s", "60s", Operation("monitor", "15s", "10s"))),
            Primitive(
                MOUNT, "ocf:heartbeat:Filesystem", mount,
                _operations("60s", "60s", Operation("monitor", "40s", "20s", "20")),
            ),
            Primitive(
                SERVICE, "ocf:heartbeat:anything", service, _operations("20s", "20s", Operation("monitor", "20s", "10s")),
            ),
            *fences,
        ),
        (DISK, MOUNT, SERVICE),
        (nodes[0], 50),
        {f"fence-{node}": node for node in nodes},
    )  # fmt: skip


def _operations(start: str, stop: str, monitor: Operation) -> tuple[Operation, ...]:
    return Operation("start", start), Operation("stop", stop), monitor


def written(config: Settings) -> int:
    """How many values an administrator writes: properties, parameters, operations, members and constraints."""
    primitives = sum(
        1 + len(one.values) + sum(1 + bool(each.level) for each in one.operations)
        for one in config.primitives
    )
    return (
        len(config.properties)
        + len(config.defaults)
        + primitives
        + len(config.group)
        + bool(config.prefers[0])
        + len(config.never)
    )


def xml(config: Settings, nodes: Sequence[str]) -> str:
    """The section `configuration` of the CIB."""
    primitives = {one.name: _primitive(one) for one in config.primitives}
    group = "".join(primitives.pop(name) for name in config.group)
    home, score = config.prefers
    constraints = f'<rsc_location id="home" rsc="{GROUP}" node="{home}" score="{score}"/>' if home else ""
    constraints += "".join(
        f'<rsc_location id="{name}-not-there" rsc="{name}" node="{node}" score="-INFINITY"/>'
        for name, node in config.never.items()
    )
    listed = "".join(f'<node id="{number}" uname="{name}"/>' for number, name in enumerate(nodes, 1))
    return (
        f"<configuration><crm_config>{_pairs('cluster_property_set', 'cib-bootstrap-options', config.properties)}"
        f"</crm_config><nodes>{listed}</nodes><resources>{''.join(primitives.values())}"
        f'<group id="{GROUP}">{group}</group></resources><constraints>{constraints}</constraints>'
        f"<rsc_defaults>{_pairs('meta_attributes', 'rsc-defaults', config.defaults)}</rsc_defaults></configuration>"
    )


def _pairs(tag: str, ident: str, values: Values) -> str:
    rows = "".join(
        f'<nvpair id="{ident}-{name}" name="{name}" value={quoteattr(str(value))}/>'
        for name, value in values.items()
    )
    return f'<{tag} id="{ident}">{rows}</{tag}>' if values else ""


def _primitive(one: Primitive) -> str:
    words = one.kind.split(":")
    names = ("class", "provider", "type") if len(words) == 3 else ("type",)
    kind = " ".join(f'{name}="{word}"' for name, word in zip(names, words, strict=True))
    kind = kind if len(words) == 3 else f'class="stonith" {kind}'
    operations = "".join(_operation(one.name, each) for each in one.operations)
    return (
        f'<primitive id="{one.name}" {kind}>{_pairs("instance_attributes", f"{one.name}-values", one.values)}'
        f"<operations>{operations}</operations></primitive>"
    )


def _operation(resource: str, one: Operation) -> str:
    ident = f"{resource}-{one.name}"
    deep = _pairs("instance_attributes", f"{ident}-deep", {"OCF_CHECK_LEVEL": one.level} if one.level else {})
    return f'<op id="{ident}" name="{one.name}" interval="{one.interval}" timeout="{one.timeout}">{deep}</op>'

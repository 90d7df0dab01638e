"""Steers a lab vCenter over its control interface. It needs the URL only: any process of the lab can."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, cast

_CALL_LIMIT = 40.0  # seconds; longer than the 30 that the program gives the hook

Json = dict[str, Any]


class VcenterError(Exception):
    """The lab vCenter did not build, start or answer, or refused a call; says which, why and what to do."""


class Control:
    """What can be seen of a lab vCenter, and what can be done to it. Every method raises VcenterError."""

    def __init__(self, url: str) -> None:
        """url: the control interface, as in the program's first line."""
        self.control = url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One call.

        path: such as "/inventory". body: JSON object to POST; None means GET. Returns the decoded answer.
        Raises VcenterError with the program's own sentence, or when it does not answer.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data)
        try:
            with self._opener.open(request, timeout=_CALL_LIMIT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise VcenterError(f"{path}: {_sentence(error.read())}") from error
        except (OSError, ValueError) as error:
            raise VcenterError(f"{path}: {self.control} does not answer: {error}; look at its log") from error

    # What can be seen.

    def inventory(self) -> Json:
        """All VMs with their disks, and all hosts, as they are now."""
        return cast(Json, self.call("/inventory"))

    def vm(self, name: str) -> Json:
        """One VM of `inventory`."""
        for one in self.inventory()["vms"]:
            if one["name"] == name:
                return cast(Json, one)
        raise VcenterError(f"no VM is named {name}; the inventory lists them")

    def disk_paths(self, name: str) -> list[str]:
        """The datastore paths of a VM's disks."""
        return [str(disk["path"]) for disk in self.vm(name)["disks"]]

    def calls(self) -> Json:
        """{"total": N, "methods": {name: N}} since the start or the last `reset`."""
        return cast(Json, self.call("/calls"))

    def tasks(self) -> list[Json]:
        """All tasks in order: method, vm, state, error (fault type or ""), started_ms, ended_ms."""
        return cast(list[Json], self.call("/tasks"))

    # What happens to VMs and hosts.

    def guest_power(self, vm: str, power: str) -> None:
        """The guest's own halt ("poweredOff") or boot ("poweredOn"): no task, no hook."""
        self.call("/guest-power", {"vm": vm, "power": power})

    def guest(self, vm: str, heartbeat: str = "", tools: str = "", address: str = "") -> None:
        """heartbeat: green, yellow, red or gray. tools: guestToolsRunning or guestToolsNotRunning. address: the guest's."""
        self.call("/guest", {"vm": vm, "heartbeat": heartbeat, "tools": tools, "address": address})

    def question(self, vm: str, text: str, key: str = "msg.hbacommon.askonpermanentdeviceloss") -> None:
        """The VM waits for an answer; no text ends it. key: of vSphere's message."""
        self.call("/question", {"vm": vm, "id": key, "text": text})

    def reach(self, vm: str, connection: str = "connected") -> None:
        """One VM alone, while its host is well: connected, disconnected, inaccessible, orphaned or invalid."""
        self.call("/reach", {"vm": vm, "connection": connection})

    def connect_host(self, host: str, connection: str = "connected") -> None:
        """connection: connected, disconnected or notResponding. Its VMs become (dis)connected too."""
        self.call("/host", {"host": host, "connection": connection})

    def add_vm(self, **vm: Any) -> None:
        """A further VM; members as in the inventory."""
        self.call("/vm", vm)

    def add_disk(self, **disk: Any) -> None:
        """A further disk file, attached if `attached_to` names a VM; members as in the inventory."""
        self.call("/disk", disk)

    def snapshot(self, vm: str, name: str) -> None:
        """Make a snapshot: the VM's disks, unless independent, get a new file on top."""
        self.call("/snapshot", {"vm": vm, "name": name})

    def remove_snapshots(self, vm: str) -> None:
        """Remove all snapshots of the VM: its disks are the old files again."""
        self.call("/snapshot", {"vm": vm, "remove_all": True})

    # What goes wrong.

    def delays(self, **milliseconds: int) -> None:
        """How long work takes.

        attach, detach, poweroff, poweron, reset, suspend, shutdown, snapshot, reconfigure: the work.
        locked: before a locked file is reported. call: before every call.
        """
        self.call("/delays", milliseconds)

    def fault(
        self,
        method: str,
        fault: str,
        *,
        vm: str = "*",
        skip: int = 0,
        count: int = 1,
        where: str = "call",
        text: str = "",
    ) -> None:
        """After `skip` good ones, `count` calls of the method fail with the vSphere fault type.

        where: "call" (the call itself is refused) or "task" (the task ends with it). text: its message.
        """
        rule = {"method": method, "type": fault, "vm": vm, "skip": skip, "count": count}
        self.call("/fault", {**rule, "where": where, "message": text})

    def end_fault(self, method: str) -> int:
        """Take back what `fault` was to do to a method. Returns how many calls of it were still to fail."""
        return int(self.call("/fault-end", {"method": method})["left"])

    def net(self, mode: str, count: int = 0, method: str = "") -> int:
        """mode: 503, drop (not delivered), dropreply (done, answer lost), hang, or "" to end it.

        count: requests that are hit, 0 = until changed. method: only SOAP requests of that method. Returns how many requests that
        the mode before was to hit never came.
        """
        return int(self.call("/net", {"mode": mode, "count": count, "method": method})["left"])

    def deny(self, user: str, *privileges: str) -> None:
        """Take privileges such as VirtualMachine.Config.RemoveDisk from a user; none gives all back."""
        self.call("/deny", {"user": user, "privileges": list(privileges)})

    def expire_sessions(self) -> None:
        """All logins become NotAuthenticated."""
        self.call("/sessions", {"expire": True})

    def reset(self) -> None:
        """End faults, network faults, denials and delays, and count calls from zero."""
        self.call("/reset", {})


def _sentence(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200]

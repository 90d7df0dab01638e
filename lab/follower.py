"""How the nodes follow the vCenter: the HTTP server that it asks before each change is committed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from lab.cell import LabError
from lab.disk import Disk
from lab.node import Locked, Node

_READ_LIMIT = 5.0
_BODY_LIMIT = 1 << 16

Step = Mapping[str, Any]


class Follower:
    """Carries out the vCenter's steps on the nodes. on_step: told of each step before it is done, and of its answer."""

    def __init__(
        self, nodes: Sequence[Node], disks: Sequence[Disk], on_step: Callable[[Step, str], None]
    ) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._disks = {disk.path: disk for disk in disks}
        self._on_step = on_step
        follower = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _READ_LIMIT

            def do_POST(self) -> None:
                code, answer = follower.answer(
                    self.rfile.read(min(_BODY_LIMIT, int(self.headers["Content-Length"] or 0)))
                )
                body = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing: the vCenter logs the tasks."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="follower", daemon=True
        )

    @property
    def url(self) -> str:
        """What the vCenter is told to ask."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: bytes) -> tuple[int, dict[str, str]]:
        """Carry out one step. Returns the HTTP status and what to say."""
        try:
            step = json.loads(body)
            self._on_step(step, "")
            self._do(step)
        except Locked as problem:
            return self._refused(step, "FileLocked", str(problem))
        except LabError as problem:
            return self._refused(step, "GenericVmConfigFault", str(problem))
        except (ValueError, KeyError, TypeError) as problem:
            return 400, {"error": f"the step is not understood: {problem!r}"}
        self._on_step(step, "done")
        return 200, {}

    def _refused(self, step: Step, fault: str, sentence: str) -> tuple[int, dict[str, str]]:
        self._on_step(step, sentence)
        return 409, {"fault": fault, "message": sentence}

    def _do(self, step: Step) -> None:
        node = self._nodes.get(step["vm"])
        if node is None:
            return  # one of the vCenter's other VMs
        operation = step["op"]
        if operation in ("attach", "detach"):
            disk = self._disks.get(step["path"])
            if disk is not None:
                self._move(node, disk, step)
            return
        actions = {
            "poweron": node.power_on,
            "poweroff": node.power_off,
            "reset": lambda: (node.power_off(), node.power_on()),
            "suspend": node.freeze,
        }
        if operation not in actions:
            raise ValueError(f"no operation is named {operation}")
        actions[operation]()

    def _move(self, node: Node, disk: Disk, step: Step) -> None:
        if step["op"] == "attach":
            node.attach(disk, int(step["bus"]), int(step["unit"]))
        else:
            node.detach(disk)

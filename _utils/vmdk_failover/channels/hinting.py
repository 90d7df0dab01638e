"""The word to the master's engine that somebody should look at a resource, and whether an engine is there to hear it."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any

#: No name of a resource is longer.
NAME = 64


def hint(path: Path, name: str, wait: float = 1.0) -> dict[str, Any] | None:
    """
    Ask the engine at ``path`` to look at the resource ``name``; ``""`` only asks whether it is there.

    :param wait: seconds, for each of connecting and the answer.
    :return: ``{"accepted": bool, "under_way": bool}``, or ``None`` if no engine answers there.
    """
    if len(name) > NAME:
        return {"accepted": False, "under_way": False}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            # with Python's own timeout a line on which many wait already would be refused at once
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", *_parts(wait)))
            line.connect(str(path))
            line.settimeout(wait)
            line.sendall(json.dumps({"recover": name}).encode() + b"\n")
            answer = json.loads(line.recv(4096))
            return answer if isinstance(answer, dict) else None
    except (OSError, ValueError):
        return None


def _parts(seconds: float) -> tuple[int, int]:
    """Seconds and microseconds, as the kernel takes them."""
    return int(seconds), int(seconds % 1 * 1e6)

"""In which order the prober tells: a reader does not wait for the file, which others read later."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from vmdk_failover.guest import channel, memory
from vmdk_failover.guest.latest import FILE
from vmdk_failover.guest.telling import Telling
from vmdk_failover.guest.verdict import Sign


@dataclasses.dataclass
class Verdict:
    """A verdict that is what it was made."""

    sign: Sign

    def current(self, _: float) -> Sign:
        """What it comes to."""
        return self.sign


@dataclasses.dataclass
class Named:
    """A resource, as far as it is named."""

    name: str


class Watched:
    """As much of the watch over a resource as is told."""

    def __init__(self, sign: Sign) -> None:
        self.resource, self.verdict = Named("pgdata"), Verdict(sign)


def test_a_reader_has_a_change_before_it_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling = Telling(tmp_path, 0, {})
    reader = channel.connect(tmp_path, 0)
    assert reader is not None
    telling.words()
    heard: list[Any] = []
    write = memory.write

    def written(path: Path, value: Any) -> None:
        heard.extend(channel.receive(reader) or ())
        write(path, value)

    monkeypatch.setattr(memory, "write", written)
    telling.tell(1.0, [Watched(Sign("device_gone", "it has left", 0.9))])  # type: ignore[list-item]
    assert [one["condition"] for one in heard] == ["device_gone"]
    assert '"device_gone"' in (tmp_path / FILE).read_text()
    reader.close()

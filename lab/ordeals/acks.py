"""The list of acknowledged records, read on from where it was read to."""

from __future__ import annotations

from lab.cluster import Lab
from lab.ledger import Acknowledged, parse_acknowledged


class Acks:
    """What the writers of a lab were told is safe, from now on."""

    def __init__(self, lab: Lab) -> None:
        self._path = lab.run_dir / "shared" / "ledger.ack"
        self._place = self._path.stat().st_size if self._path.exists() else 0
        self._found: list[Acknowledged] = []

    def _read_on(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._place)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._place += len(whole)
        self._found += parse_acknowledged(whole.decode())

    def since(self, moment: float) -> list[Acknowledged]:
        """All from a moment (monotonic seconds) on."""
        self._read_on()
        return [one for one in self._found if one.monotonic >= moment]

    def written(self, node: str, since: float) -> int:
        """How many a node has written from a moment on."""
        return sum(one.node == node for one in self.since(since))

"""The lab's command line: python -m lab --help."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab import bench, demo, enter, leftovers, playing, product, require, trial
from lab.cell import LabError
from lab.cluster import Lab
from lab.faultdisk import ROOT
from lab.linux import wait_until
from lab.qemu.guests import Guests
from lab.qemu.scenarios import SCENARIOS as OF_GUESTS
from lab.scenarios import DISK, FIRST, SCENARIOS, SECOND
from lab.wishes import DiskWish, Wishes

_LIMIT = 60.0


def say(sentence: str) -> None:
    """Tell the person at the terminal; data goes to standard output."""
    print(sentence, file=sys.stderr, flush=True)


def delays(text: str) -> dict[str, int]:
    """Read detach=1400,attach=1500. Raises argparse.ArgumentTypeError."""
    try:
        return {name: int(value) for name, value in (part.split("=") for part in text.split(",") if part)}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form detach=1400,attach=1500") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="A Salt master, two VMs, a vCenter and a disk that fails."
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="list the scenarios")
    run = commands.add_parser("run", help="run scenarios, each in a fresh lab")
    run.add_argument(
        "names", nargs="+", metavar="NAME", choices=[*SCENARIOS, *OF_GUESTS, "all"], help="a scenario, or all"
    )
    for sub in (run, commands.add_parser("demo", help="break a disk and tell what happens")):
        _add_settings(sub)
    run.add_argument(
        "--nodes", choices=("namespaces", "qemu"), default="namespaces",
        help="qemu: guests under emulation, with kernels and SCSI controllers of their own",
    )  # fmt: skip
    run.add_argument("--json", action="store_true", help="print the results as JSON, one line each")
    measure = commands.add_parser("bench", help="measure fail-overs; build/bench/failover.json")
    measure.add_argument("--runs", type=int, default=10, metavar="N", help="runs of each scenario")
    measure.add_argument("--only", default="", metavar="TEXT", help="only rows whose name has this in it")
    up = commands.add_parser("up", help="start a lab and keep it until Ctrl-C")
    _add_settings(up)
    up.add_argument("--bare", action="store_true", help="without the product's configuration")
    inside = commands.add_parser("enter", help="a shell, or a command, on the master of the lab that runs")
    inside.add_argument("--lab", type=Path, metavar="DIR", help="its directory, when several run")
    inside.add_argument("--node", default="", metavar="NAME", help="on this node instead")
    inside.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    commands.add_parser("cleanup", help="give back what killed labs have left")
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--delay", type=delays, default={}, metavar="OP=MS,…", help="how long the vCenter's tasks take"
    )
    parser.add_argument("--fs", choices=("ext4", "xfs"), default="ext4", help="file system of the disk")
    parser.add_argument("--hang-timeout", type=float, metavar="S", help="hang_timeout of the resource")
    parser.add_argument(
        "--hang-limit", type=float, default=trial.Settings.hang_limit, metavar="S",
        help=f"a hung disk fails by itself after this ({trial.Settings.hang_limit:g})",
    )  # fmt: skip


def _settings(given: argparse.Namespace, guests: Guests | None = None) -> trial.Settings:
    return trial.Settings(given.fs, given.delay, given.hang_timeout, given.hang_limit, guests=guests, say=say)


def _list() -> int:
    for scenario in SCENARIOS.values():
        print(f"{scenario.name:18} {scenario.description}")
    for scenario in OF_GUESTS.values():
        print(f"{scenario.name:18} {scenario.description} (--nodes qemu)")
    return 0


def _run(given: argparse.Namespace) -> int:
    guests = Guests() if given.nodes == "qemu" else None
    if guests is not None and given.hang_limit != trial.Settings.hang_limit:
        raise LabError("a guest's disk hangs until it is cured; leave --hang-limit out")
    known = SCENARIOS if guests is None else {**SCENARIOS, **OF_GUESTS}
    names = list(known) if "all" in given.names else given.names
    if strange := [name for name in names if name not in known]:
        raise LabError(f"{', '.join(strange)} needs kernels of its own; add --nodes qemu")
    require.check((given.fs,))  # once, not for each of them
    rows: list[playing.Row] = []
    about = {
        "nodes": given.nodes,
        "fs": given.fs,
        "delays_ms": given.delay,
        "began": time.strftime("%F %T %z"),
    }

    def done(row: playing.Row) -> None:
        rows.append(row)
        if row.outcome is not None:
            print(json.dumps(row.outcome.plain()) if given.json else _told(row.outcome), flush=True)
        if "all" in given.names:
            playing.write(playing.path_of(given.nodes), rows, names[len(rows) :], about)

    playing.play([known[name] for name in names], _settings(given, guests), done)
    if len(rows) > 1:
        bad = [row.scenario for row in rows if not row.ok]
        say(
            f"{len(rows) - len(bad)} of {len(rows)} ended as they should"
            + (f"; not so: {', '.join(bad)}" if bad else "")
        )
    return playing.status(rows)


def _told(outcome: trial.Outcome) -> str:
    times = [
        f"{word} {value / 1000:.2f} s"
        for word, value in (
            ("noticed after", outcome.fault_to_event_ms),
            ("decided after", outcome.fault_to_decision_ms),
            ("mounted after", outcome.fault_to_mounted_ms),
        )
        if value is not None
    ]
    lines = [
        f"{outcome.scenario}: {'ok' if outcome.ok else 'FAILED'}; {', '.join(times) or 'nothing happened'}"
    ]
    lines += [
        f"  {step.started_ms:6} ms  {step.name} {step.node}: {step.outcome} in {step.took_ms} ms"
        for step in outcome.steps
    ]
    lines.append(f"  {outcome.acknowledged} records acknowledged, {outcome.lost} of them lost")
    lines.append(
        f"  seen at two nodes at once: {outcome.double_holders} times attached, {outcome.double_mounts} times mounted"
    )
    return "\n".join([*lines, *(f"  {note}" for note in outcome.notes)])


def _demo(given: argparse.Namespace) -> int:
    return 0 if demo.run(_settings(given), lambda words: print(words, flush=True)) else 1


def _bench(given: argparse.Namespace) -> int:
    bench.run(given.runs, say, given.only)
    return 0


def _up(given: argparse.Namespace) -> int:
    wishes = Wishes(
        disks=(DiskWish(DISK, given.fs),),
        hang_limit=given.hang_limit,
        delays=given.delay,
        master_overrides={} if given.bare else lambda lab: product.master_options(lab, {}),
        minion_overrides={} if given.bare else product.minion_options,
    )
    with Lab(wishes, say) as lab:
        try:
            trial.bring_up(lab, by_hand=True)
            if not given.bare:
                _protect(lab, f"hang_timeout={given.hang_timeout}" if given.hang_timeout else "")
        except LabError as problem:
            say(f"lab: {problem}")  # it stays up, so that one can look why
        print(_commands(lab), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            say("ending the lab")
    return 0


def _protect(lab: Lab, more: str) -> None:
    """As a person does it, in a file of its own, which every command of the manual works on. Raises LabError."""
    lab.nodes[SECOND].run(["mkdir", "-p", lab.mountpoint()])
    product.wait_engine(lab)
    words = [f"node={FIRST}", f"mountpoint={lab.mountpoint()}", f"backups={SECOND}"]
    words += [f"services={trial.SERVICE}", more]
    said: dict[str, Any] = {}

    def is_done() -> bool:
        said.update(lab.master.run("vmdk.protect", DISK, *filter(None, words)))
        return bool(said.get("written"))

    if not wait_until(is_done, _LIMIT, 1.0):
        raise LabError(f"{DISK} could not be protected: {json.dumps(said)}")
    if not wait_until(lambda: bool(lab.master.run("vmdk.status").get("all_well")), _LIMIT, 0.5):
        raise LabError(f"{DISK} is not well: {json.dumps(lab.master.run('vmdk.status'))}")


def _commands(lab: Lab) -> str:
    python = Path(sys.executable)
    near = python.relative_to(ROOT) if python.is_relative_to(ROOT) else python
    inside = f"{shlex.quote(str(near))} -m lab enter --lab {lab.run_dir}"
    socket = lab.fault_disk(FIRST, DISK).socket
    return f"""The lab is up ({lab.run_dir}); Ctrl-C ends it. In another terminal, in {ROOT}:
  {inside}   a shell on its master
  {inside} salt-run vmdk.status
  {inside} salt '*' test.ping
  {inside} --node {FIRST} salt-call vmdk.status   the same on a node
  {inside} python -m lab.faultdisk {socket} all=hang   break the disk of {FIRST}
  {inside} python -m lab.power {FIRST} off   power its VM off in the vCenter; with on it boots
  {inside} curl -s {lab.vcenter.control}/inventory     what the vCenter shows"""


def _enter(given: argparse.Namespace) -> int:
    enter.enter(given.lab, given.node, given.argv)


def _cleanup(_: argparse.Namespace) -> int:
    for sentence in leftovers.give_back() or ["nothing was left"]:
        print(sentence)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command. Returns the exit status: 0 good, 1 a scenario failed, 2 the lab itself does not work."""
    parser = _parser()
    given = parser.parse_args(argv)
    commands = {"run": _run, "demo": _demo, "bench": _bench, "up": _up, "enter": _enter, "cleanup": _cleanup}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if given.list or given.command == "list":
        return _list()
    if given.command is None:
        parser.print_help()
        return 2
    try:
        return commands[given.command](given)
    except LabError as problem:
        say(f"lab: {problem}")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""Carry out the blows of a story, each in a thread of its own, and keep account of which of them struck."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from lab.cell import LabError
from lab.faultdisk import DiskError
from lab.hypervisor import VcenterError
from lab.ordeals.catalogue import FAULTS
from lab.ordeals.scene import Cure, NeverStruck, Scene
from lab.ordeals.story import Blow, Story
from lab.scenarios import DISK
from lab.strikes import TooLate

#: Seconds for which a step is waited for; of slow nodes as many times longer as the lab is patient.
STEP_LIMIT = 10.0
#: Begins what is told of an exception that nobody expected.
MISTAKE = "a mistake of the lab's own"
#: What a striker may meet on a stage where things are broken on purpose.
EXPECTED = (TooLate, LabError, VcenterError, DiskError, OSError)


def mistake(problem: Exception) -> str:
    """An exception that nobody expected, for people."""
    return f"{MISTAKE}: {type(problem).__name__}: {problem}"


@dataclass
class Account:
    """What became of a story's blows, by their place in it.

    struck: those that did something. untimely: those of them that struck although their step never came. notes: what went
    otherwise than told. stays: cures of what is to stay until the verdict, with the blow each belongs to. broken: what no striker
    should meet, which is a fault of the lab and makes its verdict worthless.
    """

    story: Story
    struck: set[int] = field(default_factory=set)
    untimely: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    stays: list[tuple[int, Cure]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def faults(self, which: set[int]) -> tuple[str, ...]:
        """The names of some blows, in the order of the story."""
        return tuple(one.fault for place, one in enumerate(self.story.blows) if place in which)

    def cure(self, place: int, cure: Cure) -> None:
        """End what a blow did. One that shows only then that nothing came of it has not struck."""
        fault = self.story.blows[place].fault
        try:
            cure()
        except NeverStruck as late:
            self.struck.discard(place)
            self.notes.append(f"{fault}: {late}")
        except EXPECTED as problem:
            self.notes.append(f"not cured: {problem}")
        except Exception as problem:
            self.fail(f"{fault} was not cured", problem)

    def cure_what_stays(self) -> None:
        """End what was to stay until the verdict."""
        while self.stays:
            self.cure(*self.stays.pop(0))

    def fail(self, what: str, problem: Exception) -> None:
        """Take down an exception that nobody expected."""
        words = f"{what}, {mistake(problem)}"
        self.broken.append(words)
        self.notes.append(words)


def play(scene: Scene, story: Story) -> Account:
    """Strike and cure as the story says; returns when the last fault that ends has ended."""
    account, began = Account(story), time.monotonic()
    threads = [
        threading.Thread(target=_carry_out, args=(scene, place, account, began), name=blow.fault)
        for place, blow in enumerate(story.blows)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return account


def _carry_out(scene: Scene, place: int, account: Account, began: float) -> None:
    """One blow. Nothing leaves the thread: an exception there would be told to nobody who judges."""
    blow = account.story.blows[place]
    try:
        cure = _struck(scene, place, account, began)
    except EXPECTED as problem:
        account.notes.append(f"{blow.fault}: {problem}")
        return
    except Exception as problem:
        account.fail(f"{blow.fault} did not strike", problem)
        return
    account.struck.add(place)
    if not blow.lasts:
        account.stays.append((place, cure))
        return
    time.sleep(blow.lasts)
    account.cure(place, cure)


def _struck(scene: Scene, place: int, account: Account, began: float) -> Cure:
    """Wait for the moment of a blow, and strike. Raises what the fault raises."""
    blow = account.story.blows[place]
    came = _await_step(scene, blow, began)
    time.sleep(max(0.0, blow.at if blow.step else began + blow.at - time.monotonic()))
    cure = FAULTS[blow.fault].strike(scene)
    if not came:
        account.untimely.add(place)
        account.notes.append(f"{blow.fault}: no step {blow.step} came, struck all the same")
    return cure


def _await_step(scene: Scene, blow: Blow, began: float) -> bool:
    """Whether the step of a blow has begun, if it has one."""
    if not blow.step:
        return True
    decided = blow.step == "decided"
    found = scene.lab.master.events.wait(
        f"vmdk-move/{DISK}/{'decided' if decided else 'step'}",
        STEP_LIMIT * scene.lab.patience,
        began,
        lambda one: one.data.get("choice") == "move" if decided else one.data.get("step") == blow.step,
    )
    return found is not None

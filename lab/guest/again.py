"""
``make guest ARGS=image``: the image of the guest is made once more, elsewhere and later, and must have the same bytes.

    python -m lab.guest image
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from lab.guest import vm

PARTS = ("vmlinuz", "initrd.gz", "root.raw")
_CHUNK = 1 << 20


def other_packages(first: Path, second: Path) -> list[str]:
    """What only one of two images was made from, as lines of their lists: ``-`` of the first, ``+`` of the second."""
    one, two = ((image / "packages").read_text(encoding="utf-8").splitlines() for image in (first, second))
    return [f"- {line}" for line in one if line not in two] + [f"+ {line}" for line in two if line not in one]


def first_difference(first: Path, second: Path) -> int | None:
    """From which byte on two files differ; None if they are the same."""
    with open(first, "rb") as one, open(second, "rb") as two:
        at = 0
        while True:
            here, there = one.read(_CHUNK), two.read(_CHUNK)
            if here != there:
                same = (
                    number for number, pair in enumerate(zip(here, there, strict=False)) if pair[0] != pair[1]
                )
                return at + next(same, min(len(here), len(there)))
            if not here:
                return None
            at += len(here)


def differences(first: Path, second: Path) -> Iterator[str]:
    """What is not the same in two images, a sentence for each part."""
    for name in PARTS:
        at = first_difference(first / name, second / name)
        if at is not None:
            yield f"{name} differs from byte {at} on"


def run(folder: Path, image: Path = vm.IMAGE) -> bool:
    """
    Make it again and compare.

    :param folder: where the second one is made; some 2 GB. :param image: the first one.
    :return: whether both are the same, which is said in a line.
    """
    began = time.monotonic()
    vm.make(folder)
    took = time.monotonic() - began
    name = "the_same_packages_make_the_same_image"
    if changed := other_packages(image, folder):
        print(
            f"FAILED {name}: the mirror has other packages by now; delete {image} and try again",
            *changed,
            sep="\n",
        )
        return False
    if found := list(differences(image, folder)):
        print(f"FAILED {name}: {'; '.join(found)}", flush=True)
        return False
    count = len((image / "packages").read_text(encoding="utf-8").splitlines())
    print(f"OK {name} ({count} packages, made again in {took:.0f} s)", flush=True)
    return True

"""
The ``Hooks`` port: an administrator's own runner functions, called by name through what is handed in. Imports nothing of Salt.

A hook may hang: it is called in a thread that is left alone after its time; its answer then counts for nothing. What it raises
or returns at length is not passed on: the command that failed may show a password. Only one short line that it returns is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from vmdk_failover.errors import OutcomeUnknown, StepFailed

#: Calls a runner function: its name and its arguments; whatever it returns or raises is the hook's.
Run = Callable[[str, Mapping[str, str]], Any]
#: Letters of a line that a hook has returned to be told.
LINE = 200


class RunnerHooks:
    """
    See the module.

    :param run: calls a Salt runner function on this master.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def call(self, function: str, facts: Mapping[str, str], within: float) -> str:
        """See the port."""
        box: list[Any] = []
        aside = threading.Thread(target=lambda: box.append(self._answer(function, facts)), daemon=True)
        aside.start()
        aside.join(within)
        if not box:
            raise OutcomeUnknown(f"{function} gave no answer within {within:.0f} s")
        answer = box[0]
        if isinstance(answer, Exception):
            raise StepFailed(f"{function} failed ({type(answer).__name__}; {_where(function)})")
        if answer is True or (isinstance(answer, Mapping) and answer.get("off") is True):
            return f"{function} has read it back as off"
        words = answer if isinstance(answer, str) and answer.isprintable() and len(answer) <= LINE else ""
        raise StepFailed(f"{function} did not say that it is off: {words or _where(function)}")

    def _answer(self, function: str, facts: Mapping[str, str]) -> Any:
        try:
            return self._run(function, facts)
        except Exception as err:  # whatever somebody else's code raises
            return err


def _where(function: str) -> str:
    """Salt keeps there what a runner function has returned or raised."""
    return f"see Salt's job cache, 'salt-run jobs.list_jobs search_function=runner.{function}'"

"""What people type after a runner's name: arguments that it does not have, lists with commas, options."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

Answers = Callable[..., Any]


def strict(refuse: Callable[[str], Any]) -> Callable[[Answers], Answers]:
    """
    Make a runner answer for an argument that it does not have, or for one that is missing: Salt itself prints the manual then,
    and ends with exit code 0, as if all had gone well.

    :param refuse: makes the answer of a sentence.
    """

    def made(function: Answers) -> Answers:
        known = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            typed = {key: value for key, value in kwargs.items() if not key.startswith("__")}
            try:
                known.bind(*args, **typed)
            except TypeError as err:
                takes = ", ".join(known.parameters) or "none"
                return refuse(f"vmdk.{function.__name__} {_wrong(known, typed, err)}; it takes {takes}")
            return function(*args, **typed)

        del call.__wrapped__  # Salt would look at the arguments behind it, and refuse before this is called
        return call

    return made


def _wrong(known: inspect.Signature, typed: Mapping[str, Any], err: TypeError) -> str:
    """What is wrong with what was typed, as a person would say it."""
    any_name = any(one.kind is one.VAR_KEYWORD for one in known.parameters.values())
    for name in typed:
        if name not in known.parameters and not any_name:
            near = difflib.get_close_matches(name, known.parameters, 1)
            return f"has no argument {name}" + (f" (did you mean {near[0]}?)" if near else "")
    words = str(err)
    missing = words.removeprefix("missing a required argument: ").strip("'")
    return f"needs {missing}" if missing != words.strip("'") else f"was called with {words}"


def listed(value: Any) -> list[Any]:
    """A list, or a text with commas, as a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value)


def options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a resource, with services as a list."""
    wanted = dict(given)
    if wanted.get("services") is not None:
        wanted["services"] = listed(wanted["services"])
    return wanted

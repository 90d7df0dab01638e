"""
Errors of the product, each with a stable ``code`` that scripts may rely on.

An error is one sentence for a person: what is wrong, where, and what to do. Adapters raise them, the engine and the Salt
face catch them once each. Never tell errors apart by their text.
"""

from __future__ import annotations

from collections.abc import Sequence


class FailoverError(Exception):
    """
    Base of all errors.

    :param reason: one sentence: what is wrong, where, what to do. Never holds a secret.
    :param code: stable code; the class has a default.
    """

    code = "error"

    def __init__(self, reason: str, code: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        if code is not None:
            self.code = code


class ConfigError(FailoverError):
    """The configuration cannot be used as it is written."""

    code = "config"


class CannotObserve(FailoverError):
    """A witness (vCenter, a node, the journal) cannot be read; what it would say is unknown."""

    code = "unreadable"


class LoginRefused(CannotObserve):
    """vCenter refused user or password; trying again would only lock the account."""

    code = "login_refused"


class CertificateRefused(CannotObserve):
    """vCenter shows another certificate than the configured one."""

    code = "certificate_refused"


class Refused(FailoverError):
    """The request is against a safety rule or makes no sense now; nothing was changed."""

    code = "refused"


class StepFailed(FailoverError):
    """A step was tried, is known not to have happened, and may be decided anew."""

    code = "step_failed"


class LockedByStranger(StepFailed):
    """A VM outside the resource holds the disk's file open."""

    code = "locked_by_stranger"


class VersionConflict(StepFailed):
    """The VM changed after it was looked at (``ConcurrentAccess``); look again."""

    code = "version_conflict"


class OutcomeUnknown(FailoverError):
    """A request was sent and its answer was lost; only a new look tells what happened."""

    code = "outcome_unknown"


class Busy(FailoverError):
    """Somebody else is at work on the same thing right now."""

    code = "busy"


class BadSignature(FailoverError):
    """A permit or an answer is not signed by the one it claims to come from, or is out of date."""

    code = "bad_signature"


class JournalError(CannotObserve):
    """The journal cannot be read or written; nothing may be decided without it."""

    code = "journal"


def listed(reasons: Sequence[object]) -> str:
    """Several reasons as one sentence part, ``(1) … (2) …``, which a terminal shows one per line; one alone as it is."""
    if len(reasons) == 1:
        return str(reasons[0])
    return " ".join(f"({number}) {reason}" for number, reason in enumerate(reasons, 1))

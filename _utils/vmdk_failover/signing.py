"""
Permits and signed answers: HMAC-SHA-256 with one key per node.

The master has one secret; each node's key is derived from it and is the only secret a node has. A signature covers a
purpose (``permit``, ``answer``, ``heartbeat``, ``event``), so that none can be passed off as another. What cannot be verified is
unknown: neither health nor silence.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from vmdk_failover.errors import BadSignature
from vmdk_failover.model import Permit, Resource, to_plain


def node_key(master_secret: bytes, minion: str) -> str:
    """Derive the key of ``minion`` from the master's secret; 64 hex digits."""
    return hmac.new(master_secret, b"vmdk node key:" + minion.encode(), hashlib.sha256).hexdigest()


def announcing_key(master_secret: bytes) -> str:
    """Derive the key of what a master tells on its own event bus; 64 hex digits. It is on no node."""
    return hmac.new(master_secret, b"vmdk announcing key", hashlib.sha256).hexdigest()


def canonical(value: Any) -> bytes:
    """The one byte form of a plain value that is signed."""
    plain = to_plain(value)
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def digest(resource: Resource | Mapping[str, Any]) -> str:
    """Digest of a resource as it is sent to a node, or as it came there."""
    return hashlib.sha256(canonical(resource)).hexdigest()


def new_nonce() -> str:
    """A fresh random nonce, 32 hex digits."""
    return secrets.token_hex(16)


def part_of(nonce: str, resource: Resource) -> str:
    """The nonce of one resource in a question about several: an answer counts for this very version of it alone."""
    return f"{nonce}:{resource.name}:{digest(resource)}"


def _mac(key: str, purpose: str, body: Any) -> str:
    return hmac.new(
        bytes.fromhex(key), purpose.encode() + b"\0" + canonical(body), hashlib.sha256
    ).hexdigest()


def sign_permit(key: str, permit: Permit) -> Permit:
    """Return ``permit`` with its signature, made with the node's ``key``."""
    return dataclasses.replace(
        permit, signature=_mac(key, "permit", dataclasses.replace(permit, signature=""))
    )


def is_signed(key: str, permit: Permit) -> bool:
    """Whether ``permit`` is signed with ``key``."""
    try:
        wanted = _mac(key, "permit", dataclasses.replace(permit, signature=""))
    except (TypeError, ValueError):  # no master signs what cannot be written plainly
        return False
    return hmac.compare_digest(wanted.encode(), str(permit.signature).encode(errors="replace"))


def check_permit(
    key: str,
    permit: Permit,
    *,
    resource: Resource,
    node: str,
    act: str,
    boot_id: str,
    uptime: float,
    epoch: int,
    sent: Mapping[str, Any] | None = None,
) -> None:
    """
    Let a permit pass, or say why not. Runs on the node before anything is touched.

    :param key: this node's key.
    :param resource: the resource as it was sent with the permit.
    :param node: this node's minion id.
    :param act: what is asked for.
    :param boot_id: this boot's id.
    :param uptime: this node's boot clock now, seconds.
    :param epoch: highest epoch this node has acted under for the resource.
    :param sent: the plain form in which the resource came. That is what was signed: a node that is newer than its master knows
        options that were not sent.
    :raises BadSignature: with the first thing that is wrong.
    """
    if not is_signed(key, permit):
        raise BadSignature(
            f"the permit for {resource.name} on {node} is not signed by this node's master; nothing was done"
        )
    for what, got, expected in (
        ("resource", permit.resource, resource.name),
        ("node", permit.node, node),
        ("act", permit.act, act),
        ("boot", permit.boot_id, boot_id),
        ("digest", permit.digest, digest(resource if sent is None else sent)),
    ):
        if got != expected:
            raise BadSignature(
                f"the permit for {resource.name} is for {what} {got}, not {expected}; nothing was done"
            )
    if uptime > permit.deadline:
        late = uptime - permit.deadline
        raise BadSignature(
            f"the permit for {resource.name} on {node} expired {late:.1f} s ago; nothing was done"
        )
    if permit.epoch < epoch:
        raise BadSignature(
            f"the permit for {resource.name} is of epoch {permit.epoch}, {node} has already acted under {epoch}; nothing was done"
        )


#: What a heartbeat says, and of which types.
#: Purposes of what a node says unasked: that it lives, that it shuts down, that its minion has got another id, and that it cannot
#: use a disk.
ALIVE, LEAVING, RENAMED, FAILING = "heartbeat", "leaving", "renamed", "failing"
HEARTBEAT: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("minion", "boot_id", "address", "version"), str),
    "seq": int,
    "uptime": (int, float),
}
#: No word of a heartbeat is longer.
HEARTBEAT_WORD = 256
#: No number of a heartbeat is higher.
HIGHEST = 1e15


def sign_heartbeat(key: str, body: Mapping[str, Any], purpose: str = ALIVE) -> dict[str, Any]:
    """Return a heartbeat with its signature, made with the node's ``key``."""
    return {**body, "signature": _mac(key, purpose, body)}


def check_heartbeat(key: Callable[[str], str], beat: Any, purpose: str = ALIVE) -> dict[str, Any]:
    """
    Return a heartbeat without its signature if the node that it names has sent it.

    :param key: the key of a node by minion id; ``KeyError`` if there is no such node.
    :raises BadSignature: if it is anything else; whatever its form or size.
    """
    body = {k: v for k, v in beat.items() if k != "signature"} if isinstance(beat, Mapping) else {}
    if set(body) != set(HEARTBEAT) or not all(_is_word(body[k], kind) for k, kind in HEARTBEAT.items()):
        raise BadSignature("a heartbeat has a form that is not understood")
    try:
        wanted = _mac(key(body["minion"]), purpose, body)
    except (KeyError, ValueError) as err:
        raise BadSignature("a heartbeat names a minion that is no node") from err
    if not hmac.compare_digest(wanted.encode(), str(beat.get("signature", "")).encode(errors="replace")):
        raise BadSignature(f"a heartbeat in the name of {body['minion']} is not signed with its key")
    return body


def _is_word(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether a heartbeat may say this: a short text, or a number that is none of the strange ones."""
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    if isinstance(value, str):
        return len(value) <= HEARTBEAT_WORD
    return isinstance(value, (int, float)) and 0 <= value <= HIGHEST


def sign_answer(key: str, body: Mapping[str, Any], nonce: str) -> dict[str, Any]:
    """Return a node's answer ``body`` with the asker's ``nonce`` and a signature."""
    signed = {**body, "nonce": nonce}
    return {**signed, "signature": _mac(key, "answer", signed)}


def check_answer(key: str, answer: Any, nonce: str, minion: str) -> dict[str, Any]:
    """
    Return the answer without its signature if it is ``minion``'s, to this ``nonce``.

    :raises BadSignature: if it is anything else.
    """
    if not isinstance(answer, Mapping):
        raise BadSignature(f"{minion} gave no signed answer")
    body = {key_: value for key_, value in answer.items() if key_ != "signature"}
    signature = str(answer.get("signature", "")).encode(errors="replace")
    if not hmac.compare_digest(_mac(key, "answer", body).encode(), signature):
        raise BadSignature(f"the answer of {minion} is not signed with its key")
    if body.get("nonce") != nonce or body.get("minion") != minion:
        raise BadSignature(f"the answer of {minion} belongs to another question")
    return body


def sign_event(key: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of the master's own with its signature, made with its announcing ``key``."""
    return {**body, "signature": _mac(key, "event", body)}


def is_event_signed(key: str, body: Mapping[str, Any], signature: object) -> bool:
    """Whether ``signature`` is what :func:`sign_event` made of ``body`` with ``key``; whatever the form of either."""
    try:
        wanted = _mac(key, "event", body)
    except (TypeError, ValueError, RecursionError):  # no master signs what cannot be written plainly
        return False
    return hmac.compare_digest(wanted.encode(), str(signature).encode(errors="replace"))

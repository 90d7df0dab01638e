"""
Products with one safeguard taken out, to check the checker: the simulation has to find each of them.

A mutant is made by patching the product, never the simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from vmdk_failover import claims, remote, shared, witnesses
from vmdk_failover import journal as journals
from vmdk_failover.around import Around
from vmdk_failover.judgement import assess, disproof, homes, leaving, policy, rules, silence
from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.case import Case
from vmdk_failover.model import NodeFacts, Power, Resource, VmFacts, node_facts_from_plain

Patch = pytest.MonkeyPatch
Mutant = Callable[[Patch], None]


def rows(*numbers: int) -> Mutant:
    """Neither table has these rows."""

    def mutate(patch: Patch) -> None:
        judge, decide = rules.next_verdict, policy.decide
        steps = tuple(row for row in rules.RULES if row.number not in numbers)
        moves = tuple(row for row in policy.POLICY if row.number not in numbers)
        patch.setattr(rules, "next_verdict", lambda case: judge(case, steps))
        patch.setattr(policy, "decide", lambda situation: decide(situation, moves))

    return mutate


def holding(*numbers: int) -> Mutant:
    """These rows of the policy begin no move: they hold, with the same words."""

    def mutate(patch: Patch) -> None:
        decide = policy.decide
        moves = tuple(
            replace(row, choice=policy.Choice.HOLD) if row.number in numbers else row for row in policy.POLICY
        )
        patch.setattr(policy, "decide", lambda situation: decide(situation, moves))

    return mutate


def tenants_are_everywhere(patch: Patch) -> None:
    """A resource that is paused on any node counts for every node."""
    sight = assess._sight

    def everywhere(resource: Resource, vm: VmFacts, facts: Any, signs: Any, around: Around) -> NodeSight:
        every = tuple(dict.fromkeys(tenant for there in around.tenants.values() for tenant in there))
        return sight(resource, vm, facts, signs, replace(around, tenants={vm.minion: every}))

    patch.setattr(assess, "_sight", everywhere)


def silence_is_off(patch: Patch) -> None:
    """A node that gives no answer counts as off."""
    patch.setattr(NodeSight, "off", property(lambda n: n.facts is None))


def cached_power_is_believed(patch: Patch) -> None:
    """Off counts although the host is not connected, and a cached word as a current one."""
    patch.setattr(VmFacts, "is_off", property(lambda vm: vm.power is Power.OFF))
    patch.setattr(NodeSight, "known", property(lambda n: True))


def suspended_is_off(patch: Patch) -> None:
    """A suspended VM goes on where it stopped."""
    stopped = (Power.OFF, Power.SUSPENDED)
    patch.setattr(VmFacts, "is_off", property(lambda vm: vm.power in stopped and vm.connected is True))


def unknown_is_off(patch: Patch) -> None:
    """A power state that cannot be read counts as off."""
    stopped = (Power.OFF, Power.UNKNOWN)
    patch.setattr(VmFacts, "is_off", property(lambda vm: vm.power in stopped and vm.connected is True))
    patch.setattr(NodeSight, "known", property(lambda n: True))


def not_seen_is_gone(patch: Patch) -> None:
    """A VM that vCenter does not show is taken for deleted."""
    rows(195, 790)(patch)


def any_release_counts(patch: Patch) -> None:
    """The proof of another epoch is taken for this one's."""
    released = property(lambda case: case.source.facts is not None and not case.source.facts.busy)
    patch.setattr(Case, "released", released)


def forged_answers_are_believed(patch: Patch) -> None:
    """Nobody looks at signatures."""

    def facts(self: Any, minion: str, answer: Any, nonce: str) -> NodeFacts | str:
        try:
            return node_facts_from_plain(answer)
        except (ValueError, TypeError, AttributeError) as err:
            return str(err)

    patch.setattr(remote.RemoteGuest, "_facts", facts)


def claims_are_not_heeded(patch: Patch) -> None:
    """Each master goes on as if it were alone."""
    patch.setattr(claims.Claimed, "others", lambda self, master: None)
    patch.setattr(shared.SharedJournal, "note", journals.FileJournal.note)


def half_a_match_is_none(patch: Patch) -> None:
    """A disk that matches by path or UUID alone is taken for another one."""

    def lists(self: VmFacts, disk: Any) -> bool | None:
        if self.present is False:
            return False
        if self.disks is None:
            return None
        return any(mine.path == disk.path and mine.uuid == disk.uuid for mine in self.disks)

    patch.setattr(VmFacts, "lists", lists)


def unread_disks_are_none(patch: Patch) -> None:
    """A device list that cannot be read counts as an empty one."""
    lists = VmFacts.lists
    patch.setattr(VmFacts, "lists", lambda vm, disk: bool(lists(replace(vm, disks=vm.disks or ()), disk)))


def copies_are_believed(patch: Patch) -> None:
    """Whoever has the key speaks for the node, whichever machine it is."""
    patch.setattr(assess, "_same_machine", lambda *uuids: True)


def a_word_counts_against_signs_of_life(patch: Patch) -> None:
    """A person's word that a host is off is never disproved but by vCenter."""
    patch.setattr(assess, "_heeded", lambda sights, around: sights)


def a_word_counts_again_in_the_next_silence(patch: Patch) -> None:
    """Only what shows life at this very moment counts against a person's word."""
    judge = disproof.life
    patch.setattr(witnesses.Witnesses, "refute", lambda self, found, around: None)
    patch.setattr(
        assess,
        "life",
        lambda minion, answers, signs, word: judge(minion, answers, signs, replace(word, ago=None)),
    )


def hosts_are_fenced_under_anybody(patch: Patch) -> None:
    """Nobody asks what else runs on a host."""
    for module in (leaving, silence):
        patch.setattr(module, "spared", lambda node, resource, nodes=(): "")


def only_moves_are_remembered(patch: Patch) -> None:
    """Where the disk of a resource is that was never moved nobody remembers."""
    known = homes.known
    patch.setattr(homes, "known", lambda recent, home=None: known(recent))


#: By what is missing.
MUTANTS: Mapping[str, Mutant] = {
    "rows 10 and 510: nobody heeds maintenance": rows(10, 510),
    "rows 20 and 40: blind": rows(20, 40),
    "row 45: the word about a holder is not current": rows(45),
    "row 50: a task runs": rows(50),
    "rows 62 and 63: lost requests are forgotten": rows(62, 63),
    "row 100: the target is lost": rows(100),
    "row 110: dead nodes keep the disk": rows(110),
    "rows 196, 541 and 792: an old list is believed": rows(196, 541, 792),
    "row 196: an old list is believed in mid-move": rows(196),
    "only moves are remembered": only_moves_are_remembered,
    "row 155: maintenance is disturbed": rows(155),
    "row 170: nobody is fenced": rows(170),
    "rows 235 to 237: nobody asks what it stands on": rows(235, 236, 237),
    "rows 570 to 573 and 577: nobody goes along": rows(570, 571, 572, 573, 577),
    "row 240: nothing is mounted": rows(240),
    "row 600: all is never well": rows(600),
    "row 43: a move holds for ever for a lost host": rows(43),
    "row 515: nothing is mounted again in the blind": rows(515),
    "row 515: it only holds": holding(515),
    "row 543: no lost host is fenced": rows(543),
    "row 543: it only holds": holding(543),
    "row 647: silence leads to nothing": rows(647),
    "row 647: it only holds": holding(647),
    "row 735: who cannot mount it keeps it": rows(735),
    "a resource that is paused anywhere is disturbed everywhere": tenants_are_everywhere,
    "silence is off": silence_is_off,
    "cached power is believed": cached_power_is_believed,
    "suspended is off": suspended_is_off,
    "unknown is off": unknown_is_off,
    "a VM that is not seen is gone": not_seen_is_gone,
    "any release counts": any_release_counts,
    "forged answers are believed": forged_answers_are_believed,
    "claims are not heeded": claims_are_not_heeded,
    "copies are believed": copies_are_believed,
    "hosts are fenced under anybody": hosts_are_fenced_under_anybody,
    "a word counts against signs of life": a_word_counts_against_signs_of_life,
    "a word counts again in the next silence": a_word_counts_again_in_the_next_silence,
    "half a match is none": half_a_match_is_none,
    "unread disks are none": unread_disks_are_none,
}

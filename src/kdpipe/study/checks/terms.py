"""Terms and networks: what of a teacher a method's terms compare must fit its student."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kdpipe.errors import KdpipeError
from kdpipe.learning import method as methods
from kdpipe.learning.own.card import TermCard
from kdpipe.learning.term import Shapes, beside_logits
from kdpipe.study import salvage
from kdpipe.study.blocks import Block
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound


def _terms(sound: Sound) -> Iterator[str]:
    for index, block in sound.blocks.items():
        if {"teachers", "students", "via", "generations"} & salvage.lost(block):
            continue
        for method in block.methods:
            names = [method] if isinstance(method, str) else method
            yield from _method(sound, f"experiments[{index}].methods", names, block)


def _method(sound: Sound, where: str, names: list[str], block: Block) -> Iterator[str]:
    """Every pair of networks of which one compares itself; `names` has a method a step."""
    if sound.card is None or not names:
        return
    asked = [list(_comparing(sound, name)) for name in names]
    for student, teacher in itertools.product(block.students, block.teachers):
        head = sound.head(teacher, student)
        path = [*(block.via or []), student]
        steps = list(zip([head, *path], path, strict=False))
        pairs = list(zip(steps, [*asked, *asked[-1:] * len(steps)], strict=False))
        # The direct students that a chain is compared with.
        pairs += [((network, student), asked[-1]) for network in [head, *(block.via or [])]]
        for (theirs, ours), terms in pairs:
            for term in terms:
                if theirs is not None:
                    yield from _fits(sound, where, term, theirs, ours)
                elif teacher in sound.defined["ensemble"]:
                    yield f"{where}: {term.title} needs one network, and {teacher} is an ensemble"


class Comparing(NamedTuple):
    """A term that looks at more than logits, at what, and what it says of two networks
    (`Term.fits`).
    """

    title: str
    needs: set[str]
    fits: Callable[[str, Shapes, str, Shapes], str | None]


def _comparing(sound: Sound, name: str) -> Iterator[Comparing]:
    """Such terms of a method, at work."""
    method = sound.methods.get(name)
    for key, term in methods.terms().items():
        if (needs := beside_logits(term.needs)) and getattr(method, f"{key}_weight", 0):
            yield Comparing(term.title, needs, term.fits)
    card = sound.term_cards.get(name)
    if isinstance(card, TermCard) and (needs := beside_logits(card.needs)):
        yield Comparing(card.title, needs, _has_groups)


def _has_groups(teacher: str, theirs: Shapes, student: str, ours: Shapes) -> str | None:
    """What can be asked of a term whose code is not imported here; the job asks for the rest."""
    lacking = [name for name, shapes in ((teacher, theirs), (student, ours)) if not shapes]
    if not lacking:
        return None
    return f"a term that compares group outputs needs them, and {lacking[0]} has no groups"


def _fits(sound: Sound, where: str, term: Comparing, teacher: str, student: str) -> Iterator[str]:
    if "groups" in term.needs:
        yield from _groups_fit(sound, where, term, teacher, student)
    if "embedding" in term.needs:
        for network in dict.fromkeys((teacher, student)):
            if not sound.networks.is_linear(network):
                yield (
                    f"{where}: {term.title} compares what the linear classifiers at the end of "
                    f"networks are given, and {network} does not end in one"
                )


def _groups_fit(
    sound: Sound, where: str, term: Comparing, teacher: str, student: str
) -> Iterator[str]:
    with contextlib.suppress(KdpipeError):  # a network that does not exist is said elsewhere
        theirs, ours = (sound.networks.group_shapes(name) for name in (teacher, student))
        if theirs is None or ours is None:
            return  # of a network without a card
        if why := term.fits(teacher, theirs, student, ours):
            yield f"{where}: {why}"


CHECK = Check(80, _terms)

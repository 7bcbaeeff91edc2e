"""Loss terms and networks: the outputs that a method compares must fit teacher and student."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.schema import BlockConfig
from kdpipe.errors import KdpipeError
from kdpipe.losses import method as methods
from kdpipe.losses.base import Shapes, parse_needs
from kdpipe.losses.custom.card import TermCard


def _check_terms(config: PartialConfig) -> Iterator[str]:
    """Check each method of each experiment."""
    if config.content.get("teacher_outputs") == "table":
        for name, method in config.methods.items():
            if method.student_modules is not None:
                yield (
                    f"methods.{name}.teacher_modules: teacher_outputs: table caches logits only; "
                    "write teacher_outputs: live, or auto"
                )
    for index, block in config.blocks.items():
        if {"teachers", "students", "via", "generations"} & partial_config.invalid_keys(block):
            continue
        for method in block.methods:
            names = [method] if isinstance(method, str) else method
            yield from _check_method(config, f"experiments[{index}].methods", names, block)


def _check_method(
    config: PartialConfig, location: str, names: list[str], block: BlockConfig
) -> Iterator[str]:
    """Check every pair of networks that a method compares; `names` has a method for each step."""
    if config.card is None or not names:
        return
    terms_by_step = [list(_comparing_terms(config, name)) for name in names]
    for student, teacher in itertools.product(block.students, block.teachers):
        first_teacher = config.resolve_teacher(teacher, student)
        path = [*(block.via or []), student]
        steps = list(zip([first_teacher, *path], path, strict=False))
        pairs = list(zip(steps, [*terms_by_step, *terms_by_step[-1:] * len(steps)], strict=False))
        # The direct students that a chain is compared with.
        pairs += [
            ((network, student), terms_by_step[-1])
            for network in [first_teacher, *(block.via or [])]
        ]
        for (teacher_network, student_network), terms in pairs:
            for term in terms:
                if teacher_network is not None:
                    yield from _check_fit(config, location, term, teacher_network, student_network)
                elif teacher in config.defined_names["ensemble"]:
                    yield (
                        f"{location}: {term.title} needs one network, and {teacher} is an ensemble"
                    )


class ComparingTerm(NamedTuple):
    """A term that compares more than logits, and its check of two networks.

    Attributes
    ----------
    title : str
    needs : set of str
        What it compares: `groups`, `embedding`.
    check_shapes : callable
        See `kdpipe.losses.base.LossTerm.check_shapes`.
    """

    title: str
    needs: set[str]
    check_shapes: Callable[[str, Shapes, str, Shapes], str | None]


def _comparing_terms(config: PartialConfig, name: str) -> Iterator[ComparingTerm]:
    """Yield the terms of a method, with a weight, that compare more than logits."""
    method = config.methods.get(name)
    names_modules = getattr(method, "student_modules", None) is not None
    for key, term in methods.load_terms().items():
        if (needs := parse_needs(term.needs)) and getattr(method, f"{key}_weight", 0):
            check = _accept_modules if names_modules else term.check_shapes
            yield ComparingTerm(term.title, needs, check)
    card = config.term_cards.get(name)
    if isinstance(card, TermCard) and (needs := parse_needs(card.needs)):
        check = _accept_modules if names_modules else _explain_missing_groups
        yield ComparingTerm(card.title, needs, check)


def _accept_modules(
    teacher: str, teacher_shapes: Shapes, student: str, student_shapes: Shapes
) -> None:
    """Accept any shapes: the outputs of modules that a method names are known only in the job."""


def _explain_missing_groups(
    teacher: str, teacher_shapes: Shapes, student: str, student_shapes: Shapes
) -> str | None:
    """Return why two networks do not fit a custom term, whose own check runs only in a job."""
    networks_without = [
        name
        for name, shapes in ((teacher, teacher_shapes), (student, student_shapes))
        if not shapes
    ]
    if not networks_without:
        return None
    return (
        f"a term that compares group outputs requires them, and {networks_without[0]} has no groups"
    )


def _check_fit(
    config: PartialConfig, location: str, term: ComparingTerm, teacher: str, student: str
) -> Iterator[str]:
    """Check that two networks have the outputs that a term compares."""
    if "groups" in term.needs:
        yield from _check_group_fit(config, location, term, teacher, student)
    if "embedding" in term.needs:
        for network in dict.fromkeys((teacher, student)):
            if not config.networks.is_linear(network):
                yield (
                    f"{location}: {term.title} compares the inputs of final linear classifiers, "
                    f"and {network} does not end in one"
                )


def _check_group_fit(
    config: PartialConfig, location: str, term: ComparingTerm, teacher: str, student: str
) -> Iterator[str]:
    """Check that the group outputs of two networks fit a term."""
    with contextlib.suppress(KdpipeError):  # another rule reports a network that is missing
        teacher_shapes, student_shapes = (
            config.networks.stage_shapes(name) for name in (teacher, student)
        )
        if teacher_shapes is None or student_shapes is None:
            return  # for a network without a card
        if problem := term.check_shapes(teacher, teacher_shapes, student, student_shapes):
            yield f"{location}: {problem}"


RULE = Rule(80, _check_terms)

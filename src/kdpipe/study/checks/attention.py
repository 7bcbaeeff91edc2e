"""Attention transfer: it needs one teacher, with maps of the sizes that the student has."""

import contextlib
import itertools
from collections.abc import Iterator

from kdpipe.errors import KdpipeError
from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.grammar import Block
from kdpipe.study.sound import Sound


def _attention(sound: Sound) -> Iterator[str]:
    for index, block in sound.blocks.items():
        if {"teachers", "students", "via", "generations"} & salvage.lost(block):
            continue
        for method in block.methods:
            names = [method] if isinstance(method, str) else method
            yield from _method(sound, f"experiments[{index}].methods", names, block)


def _method(sound: Sound, where: str, names: list[str], block: Block) -> Iterator[str]:
    """Every pair of networks of which one attends to the other; `names` has a method a step."""
    if sound.card is None or not names:
        return
    attending = [
        name in sound.methods and bool(sound.methods[name].attention_weight) for name in names
    ]
    for student, teacher in itertools.product(block.students, block.teachers):
        head = sound.head(teacher, student)
        path = [*(block.via or []), student]
        steps = list(zip([head, *path], path, strict=False))
        wanted = itertools.zip_longest(steps, attending[: len(steps)], fillvalue=attending[-1])
        pairs = [step for step, attends in wanted if attends]
        if attending[-1]:  # the direct students that a chain is compared with
            pairs += [(head, student), *((network, student) for network in block.via or [])]
        for theirs, ours in dict.fromkeys(pairs):  # pyright: ignore
            if theirs is not None:
                yield from _maps(sound, where, theirs, ours)
            elif teacher in sound.defined["ensemble"]:
                yield f"{where}: attention transfer needs one network, and {teacher} is an ensemble"


def _maps(sound: Sound, where: str, teacher: str, student: str) -> Iterator[str]:
    with contextlib.suppress(KdpipeError):  # a network that does not exist is said elsewhere
        shapes = [sound.networks.group_shapes(name) for name in (teacher, student)]
        if None in shapes:
            return  # of a network without a card
        sizes = [[side for _, *side in groups or []] for groups in shapes]
        if sizes[0] != sizes[1] or not sizes[0]:
            yield (
                f"{where}: attention transfer compares maps of equal size, and {teacher} has "
                f"{_as_sizes(sizes[0])} where {student} has {_as_sizes(sizes[1])}"
            )


def _as_sizes(sizes: list[list[int]]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in sizes) or "no groups"


CHECK = Check(80, _attention)

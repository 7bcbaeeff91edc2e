"""Experiments: networks, methods and teachers that are there, for each stop, step and seed."""

from collections.abc import Iterator

from kdpipe.study import salvage
from kdpipe.study.blocks import Block
from kdpipe.study.check import Check
from kdpipe.study.checks import circles
from kdpipe.study.size import Size
from kdpipe.study.sound import Sound
from kdpipe.wording import listed, nearest, shown, twice


def _experiments(sound: Sound) -> Iterator[str]:
    size = Size(sound)
    for index, block in sound.blocks.items():
        where = f"experiments[{index}]"
        for key in ("students", "via"):
            for network in getattr(block, key) or []:
                yield from sound.follow_network(f"{where}.{key}", network)
        for teacher in block.teachers:
            yield from _teacher(sound, size, where, teacher, block)
        for method in block.methods:
            yield from _method(sound, where, method, block)
        for key in ("teachers", "students", "methods", "stops"):
            for item in twice(getattr(block, key)):
                yield f"{where}.{key}: {item} stands twice"


def _teacher(sound: Sound, size: Size, where: str, teacher: str, block: Block) -> Iterator[str]:
    if teacher in sound.defined["ensemble"]:
        if block.stops != ["full"]:
            yield f"{where}.stops: {teacher} is an ensemble, which has no stops but full"
        ensemble = sound.ensembles.get(teacher)
        if ensemble is not None and ensemble.block in sound.named_blocks:
            other = sound.named_blocks[ensemble.block]
            yield from _seeds(sound, f"{where}.teachers: {teacher}", block, other)
    elif teacher in sound.defined["pretrained"]:
        if block.stops != ["full"]:
            yield f"{where}.stops: {teacher} is pretrained, and has no stops but full"
    elif teacher in sound.defined["experiment"]:
        other = sound.named_blocks.get(teacher)
        if other is not None:
            yield from _taught(sound, size, where, block, other)
    elif teacher == "self" or teacher in sound.networks:
        for network in block.students if teacher == "self" else [teacher]:
            yield from sound.follow_network(f"{where}.teachers", network)
            for text in block.stops:
                yield from sound.follow_stop(f"{where}.stops", text, network)
    elif not sound.lost["experiment or ensemble"] and not sound.lost["pretrained"]:
        known = ["self", *sound.defined["experiment or ensemble"], *sound.defined["pretrained"]]
        for line in sound.follow_network(f"{where}.teachers", teacher):
            yield f"{line}; nor is it one of {listed(known)}{nearest(teacher, known)}"


def _taught(sound: Sound, size: Size, where: str, block: Block, other: Block) -> Iterator[str]:
    """A block as a teacher: its one last network must be there for each seed and stop."""
    for text in block.stops:
        if text.startswith("schedule"):
            yield (
                f"{where}.stops: {other.name} is an experiment: its student cannot be trained "
                f"again by {text}; write `checkpoint E` or `full`"
            )
        else:
            for student in other.students[:1]:
                yield from sound.follow_stop(f"{where}.stops", text, student)
    yield from _seeds(sound, f"{where}.teachers: {other.name}", block, other)
    if circles.of(sound) or {"teachers", "stops", "students", "methods"} & salvage.lost(other):
        return
    if (ends := size.ends(other)) != 1:
        yield (
            f"{where}.teachers: {other.name} ends in {ends} networks for each seed, and "
            "must end in one to teach: one teacher, one stop, one student, one method"
        )


def _seeds(sound: Sound, what: str, block: Block, other: Block) -> Iterator[str]:
    """The seeds that a block needs of another must be among that one's own."""
    if {"seeds", "teacher_seed"} & (salvage.lost(block) | salvage.lost(other)):
        return
    offered, wanted = other.seeds or sound.seeds, block.seeds or sound.seeds
    if block.teacher_seed != "paired":
        wanted = [block.teacher_seed]
    if isinstance(offered, list) and isinstance(wanted, list):
        missing = [shown(seed) for seed in wanted if seed not in offered]
        if missing:
            yield (
                f"{what} is needed for seed {listed(missing)}, which experiment {other.name} "
                "has not: add it there"
            )


def _method(sound: Sound, where: str, method: str | list[str], block: Block) -> Iterator[str]:
    """A method, or one for each step of a chain."""
    names = [method] if isinstance(method, str) else method
    counted = salvage.lost(block).isdisjoint({"via", "generations"})
    if not isinstance(method, str) and counted and len(names) != block.steps:
        yield (
            f"{where}.methods: {shown(method)} names {len(names)} methods, the experiment "
            f"has {block.steps} step(s) (via and generations): give one for each step"
        )
    for name in names:
        yield from sound.follow(f"{where}.methods", name, "method")
        yield from _stop_of_kd(sound, name, block)


def _stop_of_kd(sound: Sound, name: str, block: Block) -> Iterator[str]:
    method = sound.methods.get(name)
    if method is None or not isinstance(method.stop_epoch, int):
        return
    for network in [*block.students, *(block.via or [])]:
        epochs = sound.epochs_of(network)
        if epochs is not None and method.stop_epoch >= epochs:
            yield (
                f"methods.{name}.stop_epoch: {method.stop_epoch} is not before the end: "
                f"{network} trains for {epochs} epochs (experiment {block.name})"
            )


CHECK = Check(70, _experiments)

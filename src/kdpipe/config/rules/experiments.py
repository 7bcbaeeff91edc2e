"""Experiments: networks, methods and teachers exist for each stop, step and seed."""

from collections.abc import Iterator

from kdpipe.config import partial_config, stops
from kdpipe.config.count_runs import RunCounter
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.rules import cycles
from kdpipe.config.schema import BlockConfig
from kdpipe.json_types import is_list
from kdpipe.text import did_you_mean, find_duplicates, format_value, join_names


def _check_experiments(config: PartialConfig) -> Iterator[str]:
    """Check the networks, teachers and methods of each experiment."""
    counter = RunCounter(config)
    for index, block in config.blocks.items():
        location = f"experiments[{index}]"
        for key in ("students", "via"):
            networks: list[str] | None = getattr(block, key)
            for network in networks or []:
                yield from config.check_network(f"{location}.{key}", network)
        for teacher in block.teachers:
            yield from _check_teacher(config, counter, location, teacher, block)
        for method in block.methods:
            yield from _check_method(config, location, method, block)
        for key in ("teachers", "students", "methods", "stops"):
            for item in find_duplicates(getattr(block, key)):
                yield f"{location}.{key}: {item} is listed twice"


def _check_teacher(
    config: PartialConfig, counter: RunCounter, location: str, teacher: str, block: BlockConfig
) -> Iterator[str]:
    """Check that a teacher exists, with the stops and seeds of its experiment."""
    if teacher in config.defined_names["ensemble"]:
        if block.stops != ["full"]:
            yield f"{location}.stops: {teacher} is an ensemble, which has only the stop full"
        ensemble = config.ensembles.get(teacher)
        if ensemble is not None and ensemble.block in config.named_blocks:
            source_block = config.named_blocks[ensemble.block]
            yield from _check_seeds(config, f"{location}.teachers: {teacher}", block, source_block)
    elif teacher in config.defined_names["pretrained"]:
        if block.stops != ["full"]:
            yield f"{location}.stops: {teacher} is pretrained, so it has only the stop full"
    elif teacher in config.defined_names["experiment"]:
        source_block = config.named_blocks.get(teacher)
        if source_block is not None:
            yield from _check_block_teacher(config, counter, location, block, source_block)
    elif teacher == "self" or teacher in config.networks:
        for network in block.students if teacher == "self" else [teacher]:
            yield from config.check_network(f"{location}.teachers", network)
            for text in block.stops:
                yield from config.check_stop(f"{location}.stops", text, network)
    elif (
        not config.is_incomplete["experiment or ensemble"]
        and not config.is_incomplete["pretrained"]
    ):
        known = [
            "self",
            *config.defined_names["experiment or ensemble"],
            *config.defined_names["pretrained"],
        ]
        for line in config.check_network(f"{location}.teachers", teacher):
            yield f"{line}; nor is it one of {join_names(known)}{did_you_mean(teacher, known)}"


def _check_block_teacher(
    config: PartialConfig,
    counter: RunCounter,
    location: str,
    block: BlockConfig,
    source_block: BlockConfig,
) -> Iterator[str]:
    """Check that a teacher block ends in one network for each seed and stop."""
    for text in block.stops:
        if text.startswith("schedule"):
            yield (
                f"{location}.stops: {source_block.name} is an experiment, whose student cannot be "
                f"retrained with {text}; write `checkpoint E` or `full`"
            )
        else:
            for student in source_block.students[:1]:
                epochs, lengths = config.get_epochs(student), source_block.epochs
                length = stops.resolve_length(lengths[0], epochs) if lengths and epochs else None
                yield from config.check_stop(f"{location}.stops", text, student, length)
    yield from _check_seeds(
        config, f"{location}.teachers: {source_block.name}", block, source_block
    )
    if cycles.list_cycle_errors(config) or {
        "teachers",
        "stops",
        "students",
        "methods",
    } & partial_config.invalid_keys(source_block):
        return
    if (end_count := counter.count_end_networks(source_block)) != 1:
        yield (
            f"{location}.teachers: {source_block.name} ends in {end_count} networks per seed; as a "
            "teacher it must end in one: one teacher, one stop, one student, one method, one length"
        )


def _check_seeds(
    config: PartialConfig, subject: str, block: BlockConfig, source_block: BlockConfig
) -> Iterator[str]:
    """Check that a block has its teachers for each of its seeds."""
    if {"seeds", "teacher_seed"} & (
        partial_config.invalid_keys(block) | partial_config.invalid_keys(source_block)
    ):
        return
    source_seeds, needed_seeds = source_block.seeds or config.seeds, block.seeds or config.seeds
    if block.teacher_seed != "paired":
        needed_seeds = [block.teacher_seed]
    if is_list(source_seeds) and is_list(needed_seeds):
        missing = [format_value(seed) for seed in needed_seeds if seed not in source_seeds]
        if missing:
            yield (
                f"{subject} is needed for seed {join_names(missing)}, which experiment "
                f"{source_block.name} does not have: add it there"
            )


def _check_method(
    config: PartialConfig, location: str, method: str | list[str], block: BlockConfig
) -> Iterator[str]:
    """Check a method, or a list with one for each step of a chain."""
    names = [method] if isinstance(method, str) else method
    has_step_count = partial_config.invalid_keys(block).isdisjoint({"via", "generations"})
    if not isinstance(method, str) and has_step_count and len(names) != block.steps:
        yield (
            f"{location}.methods: {format_value(method)} has {len(names)} methods, but the "
            f"experiment has {block.steps} step(s) (via and generations): give one per step"
        )
    for name in names:
        yield from config.check_name(f"{location}.methods", name, "method")
        yield from _check_stop_epoch(config, name, block)


def _check_stop_epoch(config: PartialConfig, name: str, block: BlockConfig) -> Iterator[str]:
    """Check that a method's `stop_epoch` is before the last epoch of each run that uses it."""
    method = config.methods.get(name)
    if method is None or not isinstance(method.stop_epoch, int):
        return
    for network in [*block.students, *(block.via or [])]:
        epochs = config.get_epochs(network)
        if epochs is not None and method.stop_epoch >= epochs:
            yield (
                f"methods.{name}.stop_epoch: {method.stop_epoch} is not before the last epoch: "
                f"{network} trains for {epochs} epochs (experiment {block.name})"
            )


RULE = Rule(70, _check_experiments)

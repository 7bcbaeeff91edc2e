"""Lengths and sizes of training that an experiment lists: possible, distinct, and no stop lost."""

from collections.abc import Iterator

from kdpipe.config import partial_config, stops
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.schema import BlockConfig
from kdpipe.losses.method import resolve_epochs
from kdpipe.runs.recipe import MAX_EPOCHS
from kdpipe.text import find_duplicates


def _check_lengths(config: PartialConfig) -> Iterator[str]:
    """Check `epochs`, `train_size` and `teacher_images` of each experiment."""
    for index, block in config.blocks.items():
        location = f"experiments[{index}]"
        if block.epochs is not None:
            for student in block.students:
                yield from _check_student_lengths(config, location, block, student)
        yield from _check_sizes(config, location, block)
        for teacher in block.teachers:
            yield from _check_teacher(config, location, block, teacher)
    for name, ensemble in config.ensembles.items():
        block = config.named_blocks.get(ensemble.block or "")
        if block is not None and (block.train_size or len(block.epochs or ()) > 1):
            yield (
                f"ensembles.{name}.block: {block.name} lists "
                f"{'train_size' if block.train_size else 'several epochs'}, and an ensemble "
                "averages the networks of one length on the study's images: name another experiment"
            )


def _check_student_lengths(
    config: PartialConfig, location: str, block: BlockConfig, student: str
) -> Iterator[str]:
    """Check the lengths of one student, and where the methods stop in them."""
    epochs = config.get_epochs(student)
    if epochs is None:
        return
    lengths: dict[int, int | str] = {}
    for text in block.epochs or []:
        length = stops.resolve_length(text, epochs)
        if not 1 <= length <= MAX_EPOCHS:
            yield (
                f"{location}.epochs: {text} is {length:,} epochs of {student}: they must be 1 to "
                f"{MAX_EPOCHS:,}"
            )
        elif length in lengths:
            yield (
                f"{location}.epochs: {lengths[length]} and {text} are the same length of "
                f"{student}, {length} epochs: remove one"
            )
        lengths.setdefault(length, text)
    names = [name for method in block.methods for name in _list_names(method)]
    for name in dict.fromkeys(names):
        networks: list[str] = [*(block.via or []), student]
        for network in dict.fromkeys(networks):
            for length in lengths:
                yield from _check_stop_epoch(config, location, name, network, length)


def _list_names(method: str | list[str]) -> list[str]:
    """Return the names of a method for all steps, or of one for each."""
    return [method] if isinstance(method, str) else method


def _check_stop_epoch(
    config: PartialConfig, location: str, name: str, network: str, length: int
) -> Iterator[str]:
    """Check that a method which stops before the last epoch also does so at a length."""
    method, epochs = config.methods.get(name), config.get_epochs(network)
    if method is None or not method.stop_epoch or epochs is None or length < 1:
        return
    stops_in_recipe = resolve_epochs(method.stop_epoch, epochs) < epochs
    if stops_in_recipe and resolve_epochs(method.stop_epoch, length, epochs) >= length:
        noun = "epoch" if length == 1 else "epochs"
        yield (
            f"{location}.epochs: in {length} {noun} of {network}, methods.{name}.stop_epoch "
            f"({method.stop_epoch:g}) would stop nothing: it is rounded to the last one; leave "
            "this length out"
        )


def _check_sizes(config: PartialConfig, location: str, block: BlockConfig) -> Iterator[str]:
    """Check the sizes of the training set."""
    if block.train_size is None:
        if block.teacher_images == "all" and "train_size" not in partial_config.invalid_keys(block):
            yield (
                f"{location}.teacher_images: all: only beside train_size; without it teachers "
                "are trained on all images anyway: remove this key"
            )
        return
    for size in find_duplicates(block.train_size):
        yield f"{location}.train_size: {size} is listed twice"
    data, card = config.data_section.data, config.card
    if (
        data is None
        or card is None
        or {"train_size", "validation"} & partial_config.invalid_keys(data)
    ):
        return
    available = data.train_size or card.train - data.validation
    for size in block.train_size:
        if size > available:
            yield (
                f"{location}.train_size: {size:,}: the study trains on {available:,} images "
                "(data.train_size, or what data.validation leaves), of which these are subsets"
            )


def _check_teacher(
    config: PartialConfig, location: str, block: BlockConfig, teacher: str
) -> Iterator[str]:
    """Check that a teacher which is an experiment has no sizes of its own."""
    source_block = config.named_blocks.get(teacher)
    if source_block is not None and source_block.train_size:
        yield (
            f"{location}.teachers: {teacher} lists train_size, and a teacher is trained on its "
            f"students' images: remove train_size there, and list it in {block.name} if it is "
            "wanted here"
        )


RULE = Rule(72, _check_lengths)

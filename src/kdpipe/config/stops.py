"""Stopping points of a teacher: `full`, `checkpoint E`, `every K`, `schedule N`, `schedule A/N`.

A checkpoint is taken from the full training after E epochs. A schedule is a separate training of N
epochs in total, with the learning rate annealed within them, either as in the full training or
dropped every A epochs. The latter is the early-stopped teacher of the paper (its modes 10/35,
15/50, 20/65, 25/80; the full training is 60/200). The two kinds of early stopping never share a
table row. N may also be a multiple of the full training's epochs (`schedule 4x`); a schedule of
more epochs than these is a kind of its own, `longer`, which no statement about early stopping
reads.

Lengths of a student's training are written alike: epochs, or a multiple of its recipe's (`2x`).
"""

from dataclasses import dataclass, replace

from kdpipe.errors import KdpipeError
from kdpipe.runs.recipe import MAX_EPOCHS, Recipe


@dataclass(frozen=True)
class Stop:
    """One stopping point of a teacher.

    Attributes
    ----------
    kind : str
        `full`, `checkpoint`, `schedule`, or `longer`: a schedule of more epochs than the full
        training has.
    epochs : int
        The teacher's training epochs.
    drop_every : int or None
        Epochs between drops of the learning rate, in a `schedule A/N`.
    """

    kind: str
    epochs: int
    drop_every: int | None = None

    @property
    def label(self) -> str:
        """Return the stop as it is written in a study; one that is longer says so."""
        if self.has_own_run:
            every = "" if self.drop_every is None else f"{self.drop_every}/"
            mark = " (longer)" if self.kind == "longer" else ""
            return f"schedule {every}{self.epochs}{mark}"
        return "full" if self.kind == "full" else f"checkpoint {self.epochs}"

    @property
    def has_own_run(self) -> bool:
        """Return whether the teacher is a separate training, not the full one."""
        return self.kind in ("schedule", "longer")

    def scale_recipe(self, full_recipe: Recipe) -> Recipe:
        """Return the recipe of a schedule, with the complete annealing of the full training."""
        scaled = full_recipe.with_epochs(self.epochs)
        if self.drop_every is None:
            return scaled
        drops = list(range(self.drop_every, self.epochs, self.drop_every))
        return scaled.model_copy(update={"drop_epochs": drops})

    def scale(self, epochs: int, length: int) -> "Stop":
        """Return the stop at the same share of a full training of `length` epochs, not `epochs`."""
        scaled = self.epochs and max(1, round(self.epochs * length / epochs))
        if self.drop_every is not None:
            drop_every = max(1, round(self.drop_every * length / epochs))
            return replace(self, epochs=scaled, drop_every=drop_every)
        return Stop("full", length) if scaled == length else replace(self, epochs=scaled)


def resolve_length(length: int | str, epochs: int) -> int:
    """Return a number of epochs that may be written as a multiple, such as `2x`.

    Parameters
    ----------
    length : int or str
        Epochs, or a multiple of them.
    epochs : int
        Epochs of the recipe.

    Returns
    -------
    int
        Epochs; 0 for a multiple that is rounded to none.
    """
    if isinstance(length, int):
        return length
    return round(float(length.removesuffix("x")) * epochs)


def parse_stops(text: str, epochs: int) -> list[Stop]:
    """Return the stops that a string in a study means.

    `every K` means the checkpoints K, 2K, ... before the end. A checkpoint may be a share of the
    epochs (`checkpoint 1/3`, `checkpoint 0.5x`). A checkpoint or a schedule at the
    last epoch is the full teacher; a schedule beyond it is a longer training.

    Parameters
    ----------
    text : str
        A well-formed stop.
    epochs : int
        Epochs of the teacher's full training.

    Returns
    -------
    list of Stop

    Raises
    ------
    KdpipeError
        If a checkpoint lies past the end.
    """
    if text == "full":
        return [Stop("full", epochs)]
    kind, number = text.split(" ")
    if kind == "checkpoint":
        epoch = _resolve_checkpoint(text, number, epochs)
        if epoch > epochs:
            raise KdpipeError(
                f"{text} is after the last epoch: the teacher trains for {epochs} epochs"
            )
        return [Stop("checkpoint", epoch) if epoch < epochs else Stop("full", epochs)]
    if kind == "every":
        return [Stop("checkpoint", epoch) for epoch in _checkpoint_epochs(text, epochs)]
    drop_text, _, total_text = number.rpartition("/")
    total = resolve_length(total_text if total_text.endswith("x") else int(total_text), epochs)
    if not 0 < total <= MAX_EPOCHS:
        raise KdpipeError(f"{text}: epochs must be 1 to {MAX_EPOCHS:,}")
    kind = "longer" if total > epochs else "schedule"
    if not drop_text:
        return [Stop("full", epochs) if total == epochs else Stop(kind, total)]
    drop = int(drop_text)
    if not 0 < drop <= total:
        raise KdpipeError(
            f"{text}: in A/N, the learning rate drops every A of N epochs; write A/N with 0 < A <= "
            "N"
        )
    return [Stop(kind, total, drop)]


def _resolve_checkpoint(text: str, number: str, epochs: int) -> int:
    """Return the epoch of a checkpoint, which may be written as a share: `1/3`, `0.5x`."""
    part, slash, whole = number.partition("/")
    if not slash:
        return resolve_length(number if number.endswith("x") else int(number), epochs)
    if not int(whole):
        raise KdpipeError(f"{text}: a share of the epochs is written as 1/3")
    return round(int(part) * epochs / int(whole))


def count_stops(text: str, epochs: int) -> int:
    """Count the stops that a string means; raise KdpipeError as `parse_stops` does."""
    return len(
        _checkpoint_epochs(text, epochs) if text.startswith("every") else parse_stops(text, epochs)
    )


def expand_stops(texts: list[str], epochs: int, length: int | None = None) -> list[Stop]:
    """Return the stops of several strings, in their order and without duplicates.

    They count in a full training of so many epochs; where that is one of another length, they are
    scaled with it.
    """
    stops = [stop for text in texts for stop in parse_stops(text, epochs)]
    if length is not None:
        stops = [stop.scale(epochs, length) for stop in stops]
    return list(dict.fromkeys(stops))


def _checkpoint_epochs(text: str, epochs: int) -> range:
    """Return the epochs of the checkpoints that `every K` means."""
    step = int(text.split(" ")[1])
    if not 0 < step < epochs:
        raise KdpipeError(
            f"{text}: there is no such checkpoint before the last epoch; the teacher trains for "
            f"{epochs} epochs"
        )
    return range(step, epochs, step)

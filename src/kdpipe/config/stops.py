"""Stopping points of a teacher: `full`, `checkpoint E`, `every K`, `schedule N`, `schedule A/N`.

A checkpoint is taken from the full training after E epochs. A schedule is a separate training of N
epochs in total, with the learning rate annealed within them, either as in the full training or
dropped every A epochs. The latter is the early-stopped teacher of the paper (its modes 10/35,
15/50, 20/65, 25/80; the full training is 60/200). The two kinds of early stopping never share a
table row.
"""

from dataclasses import dataclass

from kdpipe.errors import KdpipeError
from kdpipe.runs.recipe import Recipe


@dataclass(frozen=True)
class Stop:
    """One stopping point of a teacher.

    Attributes
    ----------
    kind : str
        `full`, `checkpoint` or `schedule`.
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
        """Return the stop as it is written in a study."""
        if self.kind == "schedule":
            every = "" if self.drop_every is None else f"{self.drop_every}/"
            return f"schedule {every}{self.epochs}"
        return "full" if self.kind == "full" else f"checkpoint {self.epochs}"

    def scale_recipe(self, full_recipe: Recipe) -> Recipe:
        """Return the recipe of a schedule, with the complete annealing of the full training."""
        share = self.epochs / full_recipe.epochs
        drops = [max(1, round(epoch * share)) for epoch in full_recipe.drop_epochs]
        if self.drop_every is not None:
            drops = range(self.drop_every, self.epochs, self.drop_every)
        drops = [epoch for epoch in dict.fromkeys(drops) if epoch < self.epochs]
        return full_recipe.model_copy(update={"epochs": self.epochs, "drop_epochs": drops})


def parse_stops(text: str, epochs: int) -> list[Stop]:
    """Return the stops that a string in a study means.

    `every K` means the checkpoints K, 2K, ... before the end. A checkpoint or a schedule at the
    last epoch is the full teacher.

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
        If a stop lies past the end.
    """
    if text == "full":
        return [Stop("full", epochs)]
    kind, number = text.split(" ")
    if kind == "checkpoint":
        if int(number) > epochs:
            raise KdpipeError(
                f"{text} is after the last epoch: the teacher trains for {epochs} epochs"
            )
        return [Stop("checkpoint", int(number)) if int(number) < epochs else Stop("full", epochs)]
    if kind == "every":
        return [Stop("checkpoint", epoch) for epoch in _checkpoint_epochs(text, epochs)]
    *drops, total = (int(part) for part in number.split("/"))
    if not drops:
        if not 0 < total <= epochs:
            raise KdpipeError(f"{text}: epochs must be 1 to {epochs} (the full training)")
        return [Stop("schedule", total) if total < epochs else Stop("full", epochs)]
    (drop,) = drops
    if not 0 < drop <= total <= epochs:
        raise KdpipeError(
            f"{text}: in A/N, the learning rate drops every A of N epochs; write A/N with 0 < A <= "
            f"N <= {epochs} (the full training)"
        )
    return [Stop("schedule", total, drop)]


def count_stops(text: str, epochs: int) -> int:
    """Count the stops that a string means; raise KdpipeError as `parse_stops` does."""
    return len(
        _checkpoint_epochs(text, epochs) if text.startswith("every") else parse_stops(text, epochs)
    )


def expand_stops(texts: list[str], epochs: int) -> list[Stop]:
    """Return the stops of several strings, in their order and without duplicates."""
    return list(dict.fromkeys(stop for text in texts for stop in parse_stops(text, epochs)))


def _checkpoint_epochs(text: str, epochs: int) -> range:
    """Return the epochs of the checkpoints that `every K` means."""
    step = int(text.split(" ")[1])
    if not 0 < step < epochs:
        raise KdpipeError(
            f"{text}: there is no such checkpoint before the last epoch; the teacher trains for "
            f"{epochs} epochs"
        )
    return range(step, epochs, step)

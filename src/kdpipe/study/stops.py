"""Where a teacher stops: `full`, `checkpoint E`, `every K`, `schedule N`, `schedule A/N`.

A checkpoint is cut out of the full training after E epochs. A schedule is a training of its own:
N epochs in all, the learning rate annealed in these: as the full training's is, or dropped every A
epochs - the early-stopped teacher of the paper (its modes 10/35, 15/50, 20/65, 25/80; the full one
is 60/200). They are two kinds of early stopping and never share a row.
"""

from dataclasses import dataclass

from kdpipe.errors import KdpipeError
from kdpipe.learning.recipe import Recipe


@dataclass(frozen=True)
class Stop:
    """One stopping point of a teacher; `epochs` is how long the teacher was trained."""

    kind: str  # full | checkpoint | schedule
    epochs: int
    drop_every: int | None = None  # of a schedule that says so

    @property
    def label(self) -> str:
        if self.kind == "schedule":
            every = "" if self.drop_every is None else f"{self.drop_every}/"
            return f"schedule {every}{self.epochs}"
        return "full" if self.kind == "full" else f"checkpoint {self.epochs}"

    def recipe(self, full: Recipe) -> Recipe:
        """The recipe of a schedule, which goes through the whole annealing of the full one."""
        share = self.epochs / full.epochs
        drops = [max(1, round(epoch * share)) for epoch in full.drop_epochs]
        if self.drop_every is not None:
            drops = range(self.drop_every, self.epochs, self.drop_every)
        drops = [epoch for epoch in dict.fromkeys(drops) if epoch < self.epochs]
        return full.model_copy(update={"epochs": self.epochs, "drop_epochs": drops})


def parse(text: str, epochs: int) -> list[Stop]:
    """The stops that a text of the study means, for a teacher whose full training has `epochs`.

    `every K` means the checkpoints K, 2K, ... before the end. A checkpoint at the last epoch is
    the full teacher. Raises KdpipeError where a stop lies past the end.
    """
    if text == "full":
        return [Stop("full", epochs)]
    kind, number = text.split(" ")
    if kind == "checkpoint":
        if int(number) > epochs:
            raise KdpipeError(f"{text} is past the end: the teacher trains for {epochs} epochs")
        return [Stop("checkpoint", int(number)) if int(number) < epochs else Stop("full", epochs)]
    if kind == "every":
        return [Stop("checkpoint", epoch) for epoch in _every(text, epochs)]
    *drops, total = (int(part) for part in number.split("/"))
    if not drops:
        if not 0 < total <= epochs:
            raise KdpipeError(f"{text}: its epochs are 1 to {epochs} (the full training)")
        return [Stop("schedule", total) if total < epochs else Stop("full", epochs)]
    (drop,) = drops
    if not 0 < drop <= total <= epochs:
        raise KdpipeError(
            f"{text}: the learning rate drops every A epochs and the training has N in all; write "
            f"A/N with 0 < A <= N <= {epochs} (the full training)"
        )
    return [Stop("schedule", total, drop)]


def count(text: str, epochs: int) -> int:
    """How many stops a text means. Raises KdpipeError as `parse` does."""
    return len(_every(text, epochs) if text.startswith("every") else parse(text, epochs))


def expand(texts: list[str], epochs: int) -> list[Stop]:
    """All stops of a list, in its order, each once."""
    return list(dict.fromkeys(stop for text in texts for stop in parse(text, epochs)))


def _every(text: str, epochs: int) -> range:
    step = int(text.split(" ")[1])
    if not 0 < step < epochs:
        raise KdpipeError(
            f"{text}: there is no such checkpoint before the end; the teacher trains for {epochs} "
            "epochs"
        )
    return range(step, epochs, step)

"""The losses of an epoch's batches: kept on the device, read once, and made a line of the curve.

A row a batch, a column for each part of the loss by name and one for the hits. Before they become
means they are looked at: a loss that is not finite ends the run.
"""

import numpy as np
import torch

from kdpipe.errors import Diverged
from kdpipe.learning.method import FIRST
from kdpipe.training.objective import Objective, Weights

HITS = "hits"


def columns(objective: Objective) -> list[str]:
    """What the columns of the table are: the parts, and how many images were classified rightly."""
    return ["loss", "ce", FIRST, HITS, *(part for part in objective.terms if part != FIRST)]


def note(
    row: torch.Tensor, names: list[str], parts: dict, logits: torch.Tensor, labels: torch.Tensor
) -> None:
    """Keep a batch's losses and hits on the device.

    labels: (B,), or of mixed images their shares (B, classes): a hit counts as its label's share.
    """
    with torch.no_grad():
        said = logits.argmax(1)
        right = labels.gather(1, said[:, None]) if labels.ndim > 1 else said == labels
        found = {**parts, HITS: right.sum()}
        # In one copy; what an epoch does not have stays 0.
        values = [found[name] if name in found else row[at] for at, name in enumerate(names)]
        row.copy_(torch.stack(values))


def running(
    table: torch.Tensor, names: list[str], batch: int, images: int, weights: Weights
) -> dict[str, float]:
    """Means over an epoch as it went by: augmented views, changing weights.

    Batches count by their images with labels.
    """
    sizes = np.full(len(table), batch)
    sizes[-1] = images - batch * (len(table) - 1)
    values = table.double().cpu().numpy()
    # numpy adds down the rows of a table in another order than along one column: the first three
    # are added as they always were, or the bytes of a curve would change.
    together = (values[:, :3] * sizes[:, None]).sum(0) / images
    means = dict(zip(names[:3], together, strict=True))
    for column, name in list(enumerate(names))[4:]:
        means[name] = (values[:, column] * sizes).sum() / images
    shown = ["loss", "ce", *weights.terms]
    found = {name: means[name] for name in shown}
    found["accuracy"] = values[:, names.index(HITS)].sum() / images
    return {name: float(value) for name, value in found.items()}


def refuse_nonfinite(table: torch.Tensor, epoch: int, curve: list[dict]) -> None:
    """Raise Diverged with the step, and the last loss that was finite."""
    losses = table[:, 0]
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        step = int(bad[0])
        last = "none"
        if step:
            last = f"{float(losses[step - 1]):.4g}"
        elif curve:
            last = f"{curve[-1]['train']['loss']:.4g}, the mean of epoch {epoch}"
        raise Diverged(
            f"the loss is {float(losses[step])} in epoch {epoch + 1}, step {step + 1} "
            f"(last finite loss: {last})"
        )

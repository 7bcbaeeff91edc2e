"""What a teacher says of a batch: a live forward, in eval mode and without gradient.

A teacher is one trained network at one epoch, or several whose probabilities are averaged. Its
weights are looked up by the digest of the run that made them and verified before use.
"""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import torch

from kdpipe.data import splits, streams
from kdpipe.data.images import Images, at_once, forward_size
from kdpipe.data.streams import Streams
from kdpipe.data.views import PLAIN
from kdpipe.devices import memory
from kdpipe.errors import StoreError
from kdpipe.learning import method
from kdpipe.learning.term import Said
from kdpipe.networks import models
from kdpipe.networks.brought.adapted import in_parts
from kdpipe.results import parents, store
from kdpipe.training.answers import Answers
from kdpipe.training.teachers.average import ensemble_logits

COMPARED = 16  # stored outputs of a network of one's own, with what its code says now


class Live:
    """Networks that answer for each batch, each with the memory format that it runs in.

    `temperature` is where probabilities are averaged. `asked` is its one network where terms
    look at more than logits.
    """

    def __init__(
        self,
        members: list[tuple[torch.memory_format, models.Classifier]],
        temperature: float = 1.0,
        asked: Answers | None = None,
    ):
        self.members = members
        self.temperature = temperature
        self.asked = asked

    def logits(self, x: torch.Tensor, index: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """(B, C) for normalised images (B, channels, H, W); which they are does not matter."""
        return self.forward(x)

    def forward(self, x: torch.Tensor, most=forward_size) -> torch.Tensor:
        """(B, C) for normalised images (B, channels, H, W); `most`: see `in_parts`."""
        with torch.no_grad():
            found = [
                in_parts(model, x.contiguous(memory_format=layout), most)
                for layout, model in self.members
            ]
            if len(found) == 1:
                return found[0]
            return ensemble_logits(torch.stack(found), temperature=self.temperature)

    def said(self, x: torch.Tensor) -> Said:
        """All that terms look at of the one network that this teacher is."""
        assert self.asked is not None
        ((layout, _),) = self.members
        with torch.no_grad():
            return self.asked(x.contiguous(memory_format=layout))

    def answers(self, split: str, images: Images | Streams) -> np.ndarray:
        """Logits (N, C) of the images of a split as they are."""

        def ask(size: int) -> torch.Tensor:
            most = at_once(images)
            return torch.cat([self.forward(x, most).cpu() for x in images.centres(size)])

        return memory.halved(images, ask).numpy()

    def digest(self) -> str:
        """SHA-256 of every parameter and buffer: equal before and after, or it was changed."""
        total = hashlib.sha256()
        for _, model in self.members:
            for value in model.state_dict().values():
                total.update(value.contiguous().cpu().numpy().tobytes())
        return total.hexdigest()


def load(
    spec: dict,
    place: store.Store,
    device: torch.device | str = "cpu",
    code: Path | None = None,
) -> Live:
    """The live teacher of a run, ready to answer; `code` is where networks of one's own lie.

    Raises StoreError if its weights are missing, damaged, or another run's.
    """
    members, asked = [], None
    needs = method.needs(spec["method"])
    for each in spec["teacher"]["members"]:
        network = parents.spec(each, place)["network"]
        layout, model = member(each, network, place, code)
        members.append((layout, model.to(device)))
        asked = Answers(members[0][1], network, needs) if needs else None
    return Live(members, average_temperature(spec), asked)


def average_temperature(spec: dict) -> float:
    """Where the probabilities of an ensemble that teaches are averaged."""
    at_temperature = spec["teacher"]["average_at"] == "temperature"
    return spec["method"]["temperature"] if at_temperature else 1.0


def member(
    parent: dict, network: dict, place: store.Store, code: Path | None = None
) -> tuple[torch.memory_format, models.Classifier]:
    """A parent's network with the weights of its epoch, in eval mode and without gradient.

    `parent` is (run, epoch), `network` what the spec of that run says of its network. Raises
    StoreError for weights that cannot be trusted, and for a network of one's own whose code says
    something else than when the run ended.
    """
    arrays = parents.weights(parent, place)
    model = models.of(network, code)
    models.put(model, {key: torch.from_numpy(value) for key, value in arrays.items()})
    model.eval().requires_grad_(False)
    if "build" in network:
        _compare(model, parent, network, place)
    return models.layout(network), model


def _compare(model: models.Classifier, parent: dict, network: dict, place: store.Store) -> None:
    """Some stored outputs against a forward now: code under an old revision is found out.

    Parameters of the same shapes may stand for another computation. The images are those that the
    parent was examined on, which therefore have to be there.
    """
    split = splits.load(parents.spec(parent, place)["data"], place)
    name, part = ("val", split.val) if len(split.val) else ("test", split.test)
    order = torch.arange(min(COMPARED, len(part)))
    images = streams.images(part, PLAIN, split)
    with contextlib.closing(images.batches(order, torch.zeros_like(order), COMPARED)) as batches:
        ((_, _, x),) = batches
    stored = torch.from_numpy(parents.outputs(parent, place)[f"{name}_logits"][: len(order)])
    with torch.no_grad():
        now = model(x.contiguous(memory_format=models.layout(network)))
    # Wider than what two kinds of device differ by, of which one may multiply in TF32.
    tolerance = 1e-3 + 1e-2 * float(stored.abs().max())
    if now.shape != stored.shape or not torch.allclose(now, stored, rtol=0, atol=tolerance):
        raise StoreError(
            f"{network['name']}: {network['build']} computes something else than when run "
            f"{parent['run'][:12]} ended, with the same parameters: put its code back, or raise "
            f"networks.{network['name']}.revision in the study and type: kdpipe network STUDY"
        )

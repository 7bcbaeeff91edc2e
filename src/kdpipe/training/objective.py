"""What a run learns: labels, and what its teacher adds; one weighted sum of terms.

The terms are those of its spec, in a fixed order, and none is known here by name. Each epoch has
its weights: the teacher's terms end at its stop (ESKD), and cross-entropy goes on alone.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from kdpipe.errors import KdpipeError
from kdpipe.identity import stream_of
from kdpipe.learning import logits as on_logits
from kdpipe.learning import method
from kdpipe.learning.own import trial
from kdpipe.learning.term import Said, Term, full_precision
from kdpipe.training.teachers.live import Live
from kdpipe.training.teachers.tables import Tables


@dataclass(frozen=True)
class Weights:
    """Of one epoch: the weight of cross-entropy, and of each term at work by its part."""

    ce: float
    terms: dict[str, float]


class Objective:
    """The loss of a run, and its parts by name.

    Raises KdpipeError for a term of one's own whose code is not what the run was planned with.
    """

    def __init__(self, spec: dict, code: Path | None = None):
        self.spec = spec
        self.smoothing = spec["recipe"]["label_smoothing"]
        self.terms: dict[str, tuple[Term, float, dict]] = {}
        for one in method.active(spec["method"]) if spec["method"] else ():
            term = one.term or trial.of_spec(spec["method"][method.OWN], code)
            if one.weight and term.labelled and spec["method"].get("unlabelled"):
                raise KdpipeError(
                    f"methods: {term.title} looks at labels, and {spec['method']['unlabelled']} "
                    "images of each batch have none: leave unlabelled out, or the term"
                )
            self.terms[one.part] = (term, one.weight, one.keys)
        # What its terms look at beside logits: groups, embedding.
        self.needs = method.needs(spec["method"]) if spec["method"] else frozenset()
        self.standardise = bool(spec["method"] and spec["method"].get("standardise"))
        self.learnt = nn.ModuleDict()

    def weights(self, epoch: int) -> Weights:
        """The weights of epoch `epoch` (from 0)."""
        asked = self.spec["method"]
        if asked is None:
            return Weights(1.0, {})
        if epoch >= asked["kd_epochs"]:
            return Weights(asked["ce_weight_after_stop"], {})
        at_work = {
            part: weight * self._warmth(part, epoch)
            for part, (_, weight, _) in self.terms.items()
            if weight
        }
        return Weights(asked["ce_weight"], at_work)

    def _warmth(self, part: str, epoch: int) -> float:
        """The share of its weight that a term has: n/N in the n-th of N epochs of its warm-up."""
        term, _, keys = self.terms[part]
        asked = keys[term.warmup] if term.warmup else 0
        if not asked:
            return 1.0
        rising = method.in_epochs(asked, self.spec["recipe"]["epochs"])
        return min((epoch + 1) / rising, 1.0)

    def metric(self, part: str) -> str | None:
        """The metric that is this part, where one is: metrics are of logits as they are."""
        return None if self._standardises(part) else self.terms[part][0].metric

    def _standardises(self, part: str) -> bool:
        return self.standardise and self.terms[part][0].needs == "logits"

    def grow(self, student: Said, teacher: Said) -> None:
        """Make the parameters that terms have of their own, for networks that say such things.

        They start from the run's own stream; the global generator is left as it was.
        """
        for part, (term, weight, keys) in self.terms.items():
            if weight and term.learnt is not None:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(stream_of(self.spec, f"learnt {part}"))
                    made = term.learnt(student, teacher, keys)
                self.learnt[part] = made.to(student.logits.device)

    @property
    def grows(self) -> bool:
        return any(w and term.learnt is not None for term, w, _ in self.terms.values())

    def taught(
        self, teacher: Live | Tables | None, x, index, view, weights: Weights
    ) -> Said | None:
        """What the teacher says of a batch, as far as the epoch's terms ask for it."""
        if teacher is None or not weights.terms:
            return None
        if self.needs:
            assert isinstance(teacher, Live)
            return teacher.said(x)
        return Said(teacher.logits(x, index, view), [])

    def parts(
        self, student: Said, teacher: Said | None, labels: torch.Tensor, weights: Weights
    ) -> dict[str, torch.Tensor]:
        """Scalars: the unweighted parts by name, cross-entropy as `ce`, and their sum as `loss`.

        Cross-entropy sees the images with labels, which come first in a batch; the terms see all.
        labels: (B,), or of mixed images their shares (B, classes), which no labelled term takes.
        """
        logits = full_precision(student.logits[: len(labels)])
        parts = {"ce": F.cross_entropy(logits, labels, label_smoothing=self.smoothing)}
        for part in weights.terms:
            parts[part] = self.part(part, student, teacher, labels)
        loss = weights.ce * parts["ce"]
        for part, weight in weights.terms.items():
            loss = loss + weight * parts[part]
        return {"loss": loss, **parts}

    def part(self, part: str, student: Said, teacher: Said | None, labels) -> torch.Tensor:
        """One term, without its weight."""
        term, _, keys = self.terms[part]
        own = (self.learnt[part],) if part in self.learnt else ()
        if self._standardises(part):
            student, teacher = _standardised(student), teacher and _standardised(teacher)
        return term.loss(student, teacher, labels if term.labelled else None, keys, *own)


def _standardised(said: Said) -> Said:
    return said._replace(logits=on_logits.standardised(said.logits))

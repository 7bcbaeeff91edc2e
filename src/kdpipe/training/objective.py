"""The objective of a run: a weighted sum of cross-entropy and terms that depend on its teacher.

The terms are those of its spec, in a fixed order; this module knows none by name. Weights depend on
the epoch: the teacher's terms end at its stop (ESKD), and cross-entropy continues alone.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from kdpipe.errors import KdpipeError
from kdpipe.hashing import derive_run_seed
from kdpipe.losses import _logits as logit_losses
from kdpipe.losses import method
from kdpipe.losses.base import LossTerm, ModelOutput, to_float32
from kdpipe.losses.custom import validate
from kdpipe.runs.spec import RunSpec
from kdpipe.training.teachers.cached import CachedTeacher
from kdpipe.training.teachers.online import OnlineTeacher


@dataclass(frozen=True)
class TermWeights:
    """Weights in one epoch: of cross-entropy, and of each active term by its part."""

    ce: float
    terms: dict[str, float]


class Objective:
    """The loss of a run, and its parts by name.

    Parameters
    ----------
    spec : RunSpec
    code : Path, optional
        The folder of custom code.

    Attributes
    ----------
    terms : dict
        (term, weight, keys) by the part of each term.
    needs : frozenset of str
        What its terms use in addition to logits: groups, embedding.
    student_modules : list of str
        Paths of the student's modules whose outputs are its groups; empty: those of the network.
    modules : nn.ModuleDict
        The parameters of terms, by part (see `init_term_modules`).

    Raises
    ------
    KdpipeError
        If the code of a custom term has changed since the run was planned, or a term uses labels
        and some images have none.
    """

    def __init__(self, spec: RunSpec, code: Path | None = None):
        self.spec = spec
        self.smoothing = spec.recipe.label_smoothing
        self.terms: dict[str, tuple[LossTerm, float, dict]] = {}
        method_spec = spec.method or {}
        for entry in method.active_terms(method_spec) if method_spec else ():
            term = entry.term or validate.load_term_from_spec(method_spec[method.CUSTOM_TERM], code)
            if entry.weight and term.labelled and method_spec.get("unlabelled"):
                raise KdpipeError(
                    f"methods: {term.title} uses labels, but {method_spec['unlabelled']} images of "
                    "each batch have none: remove unlabelled or the term"
                )
            self.terms[entry.part] = (term, entry.weight, entry.keys)
        self.needs = method.required_features(method_spec) if method_spec else frozenset()
        self.student_modules: list[str] = method_spec.get("student_modules", [])
        self.is_standardized = bool(method_spec.get("standardise"))
        self.modules = nn.ModuleDict()

    def weights(self, epoch: int) -> TermWeights:
        """Return the weights of an epoch, counted from 0."""
        method_spec = self.spec.method
        if method_spec is None:
            return TermWeights(1.0, {})
        if epoch >= method_spec["kd_epochs"]:
            return TermWeights(method_spec["ce_weight_after_stop"], {})
        term_weights = {
            part: weight * self._warmup_factor(part, epoch)
            for part, (_, weight, _) in self.terms.items()
            if weight
        }
        return TermWeights(method_spec["ce_weight"], term_weights)

    def _warmup_factor(self, part: str, epoch: int) -> float:
        """Return the warm-up factor of a term's weight: n/N in epoch n of N."""
        term, _, keys = self.terms[part]
        epochs_or_share = keys[term.warmup] if term.warmup else 0
        if not epochs_or_share:
            return 1.0
        warmup_epochs = method.resolve_epochs(epochs_or_share, self.spec.recipe.epochs)
        return min((epoch + 1) / warmup_epochs, 1.0)

    def metric(self, part: str) -> str | None:
        """Return the metric that equals a part, if there is one: metrics use unmodified logits."""
        return None if self._uses_standardized(part) else self.terms[part][0].metric

    def _uses_standardized(self, part: str) -> bool:
        """Return whether a term uses standardized logits."""
        return self.is_standardized and self.terms[part][0].needs == "logits"

    def init_term_modules(self, student: ModelOutput, teacher: ModelOutput) -> None:
        """Create the parameters of terms, for networks with the given outputs.

        They are drawn from a stream of the run; the global generator is restored.

        Parameters
        ----------
        student, teacher : ModelOutput
            Their outputs for one image, of which only the shapes matter.
        """
        for part, (term, weight, keys) in self.terms.items():
            if weight and term.learnt is not None:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(derive_run_seed(self.spec, f"learnt {part}"))
                    module = term.learnt(student, teacher, keys)
                self.modules[part] = module.to(student.logits.device)

    @property
    def has_modules(self) -> bool:
        """Return whether a term has parameters."""
        return any(w and term.learnt is not None for term, w, _ in self.terms.values())

    def teacher_outputs(
        self,
        teacher: OnlineTeacher | CachedTeacher | None,
        x: torch.Tensor,
        index: torch.Tensor,
        view: torch.Tensor,
        weights: TermWeights,
    ) -> ModelOutput | None:
        """Return the teacher's outputs for a batch that the epoch's terms need.

        Parameters
        ----------
        teacher : OnlineTeacher, CachedTeacher or None
        x : Tensor of shape (B, channels, H, W)
            The normalized images.
        index, view : Tensor of shape (B,)
            Indices of the images and their views, by which a logit cache is read.
        weights : TermWeights

        Returns
        -------
        ModelOutput or None
            None if the epoch has no terms.
        """
        if teacher is None or not weights.terms:
            return None
        if self.needs:
            return require_online(teacher).forward_outputs(x)
        return ModelOutput(teacher.logits(x, index, view), [])

    def compute_terms(
        self,
        student: ModelOutput,
        teacher: ModelOutput | None,
        labels: torch.Tensor,
        weights: TermWeights,
        shares: tuple[float, float] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the unweighted parts of the loss by name, and their weighted sum.

        Parameters
        ----------
        student, teacher : ModelOutput
            The outputs for a batch, labelled images first.
        labels : Tensor of shape (B,) or (B, classes)
            Labels of the labelled images, which cross-entropy uses; terms use all images. Labels of
            mixed images are shares of the classes, which terms with labels do not support.
        weights : TermWeights
        shares : tuple of float, optional
            Of a part of a batch: its shares of the labelled images and of all images, by which
            cross-entropy and terms are multiplied.

        Returns
        -------
        dict of scalar Tensor
            The sum as `loss`, cross-entropy as `ce`, and each term by its part.
        """
        logits = to_float32(student.logits[: len(labels)])
        parts = {"ce": F.cross_entropy(logits, labels, label_smoothing=self.smoothing)}
        for part in weights.terms:
            parts[part] = self.compute_term(part, student, teacher, labels)
        if shares is not None:
            parts = {name: parts[name] * shares[name != "ce"] for name in parts}
        loss = weights.ce * parts["ce"]
        for part, weight in weights.terms.items():
            loss = loss + weight * parts[part]
        return {"loss": loss, **parts}

    def compute_term(
        self,
        part: str,
        student: ModelOutput,
        teacher: ModelOutput | None,
        labels: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return one unweighted term for a batch."""
        assert teacher is not None
        term, _, keys = self.terms[part]
        modules = (self.modules[part],) if part in self.modules else ()
        if self._uses_standardized(part):
            student, teacher = _standardize_output(student), _standardize_output(teacher)
        return term.compute(student, teacher, labels if term.labelled else None, keys, *modules)


def require_online(teacher: OnlineTeacher | CachedTeacher | None) -> OnlineTeacher:
    """Return a teacher that computes features; raise KdpipeError for a logit cache."""
    if not isinstance(teacher, OnlineTeacher):
        raise KdpipeError(
            "methods: a term compares features, which a logit cache does not have: set "
            "teacher_outputs: live in the study"
        )
    return teacher


def _standardize_output(output: ModelOutput) -> ModelOutput:
    """Return the outputs with standardized logits."""
    return output._replace(logits=logit_losses.standardize(output.logits))

"""Try a custom loss term before anything is trained, once, as a run uses it.

It is given fixed logits, stage outputs and embeddings, in float32 and in half precision. Anything
that would make its runs wrong, or impossible to reproduce, is reported under the key of the study.
"""

# Some functions of torch are only partly typed.
# pyright: reportUnknownMemberType=false

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from pydantic import ValidationError
from torch import Tensor

from kdpipe import meta_device_check
from kdpipe.code_digest import hash_reached_code
from kdpipe.errors import KdpipeError
from kdpipe.losses import method
from kdpipe.losses.base import FEATURE_REQUIREMENTS, LossTerm, ModelOutput
from kdpipe.losses.custom.card import KEY_TYPES, PLAIN_NAME, TermCard, answers_match
from kdpipe.meta_device_check import META
from kdpipe.pydantic_base import StrictModel
from kdpipe.user_code import (
    find_libraries,
    format_user_error,
    get_rng_states,
    import_object,
)

N_IMAGES, N_CLASSES = 4, 5
GROUP_SIDES = (4, 2)  # pixels of the stage outputs; the teacher has twice the channels
EMBEDDING_SIZES = (6, 12)  # of student and teacher
HALF_PRECISION_TOLERANCE = 0.05
RESERVED_NAMES = {  # in a curve or a record
    "loss",
    "ce",
    "accuracy",
    "hits",
    "kl",
    "cross_entropy",
}


def import_term(config_key: str, path: str, code: Path | None) -> LossTerm:
    """Import the term that a dotted path names.

    Raises
    ------
    KdpipeError
        If it cannot be imported, or is not a LossTerm.
    """
    term = import_object(config_key, path, code)
    if not isinstance(term, LossTerm):
        raise KdpipeError(
            f"{config_key}: {path} is of type {type(term).__name__}, expected a "
            "kdpipe.losses.base.LossTerm"
        )
    return term


def load_term_from_spec(term_spec: dict[str, Any], code: Path | None) -> LossTerm:
    """Import the term of a run's spec, and compare its values.

    Parameters
    ----------
    term_spec : dict
        The `own_term` of the spec (`TermCard.spec`).
    code : Path or None
        Folder of the user's code.

    Raises
    ------
    KdpipeError
        If its code has another revision than the spec, or computes different values.
    """
    config_key = f"term {term_spec['term']}"
    term = import_term(config_key, term_spec["term"], code)
    validator = TermValidator(config_key, term_spec["term"], term)
    card = validator.card()
    if any(getattr(card, key) != term_spec[key] for key in ("revision", "part", "needs")):
        raise KdpipeError(
            f"{config_key}: this run was planned with revision {term_spec['revision']}, but its "
            f"code has revision {card.revision}; run: kdpipe check STUDY --write, then start again"
        )
    answer = card.answer
    if len(term_spec["answer"]) > len(answer):  # followed by those for the keys of its method
        answer = [*answer, *validator.answer(dict(term_spec["keys"]))]
    if not answers_match(term_spec["answer"], answer):
        raise KdpipeError(
            f"{config_key}: its values have changed since this run was planned, under the same "
            "revision: restore its code, or raise its revision and run: kdpipe check STUDY --write"
        )
    return term


class TermValidator:
    """A trial of one term.

    Parameters
    ----------
    config_key : str
        Key of the study that names the term; messages begin with it.
    path : str
        Dotted path of the term.
    term : LossTerm
        The term.
    on_gpus : bool, default False
        Whether to check for what would fail on a GPU.
    code : Path, optional
        Folder of the user's code, whose files are hashed for the card.
    """

    def __init__(
        self,
        config_key: str,
        path: str,
        term: LossTerm,
        on_gpus: bool = False,
        code: Path | None = None,
    ):
        self.config_key, self.path, self.term = config_key, path, term
        self.on_gpus, self.code = on_gpus, code

    def card(self) -> TermCard:
        """Try the term with its defaults and return its card.

        Raises
        ------
        KdpipeError
            If no run can use it.
        """
        self._check_declaration()
        defaults = self.term.keys().model_dump()
        digests = hash_reached_code(self.code, self.path) if self.code else None
        return TermCard(
            term=self.path,
            title=self.term.title,
            part=self.term.part,
            revision=self.term.revision,
            needs=self.term.needs,
            keys={key: self._describe_key(key, value) for key, value in defaults.items()},
            learnt=self.term.learnt is not None,
            answer=self.answer(defaults),
            labelled=self.term.labelled,
            code=digests,
            libraries=find_libraries(digests, self.code, self.path),
            gpu_checked=self.on_gpus,
        )

    def with_keys(self, term_keys: dict[str, Any]) -> list[float]:
        """Try the term with the keys of a method and return its values.

        Raises
        ------
        KdpipeError
            If it rejects the keys, or fails with them.
        """
        try:
            values = self.term.keys.model_validate(term_keys).model_dump()
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            self._fail(f"term_keys: {'; '.join(lines)}")
        return self.answer(values)

    def answer(self, keys: dict[str, Any]) -> list[float]:
        """Try the term with the values of all its keys and return its losses for two batches.

        Raises
        ------
        KdpipeError
            If it fails, or no run can use it with these keys.
        """
        student, teacher, labels = make_sample_inputs()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self._make_module(student, teacher, keys)
            rng_states = get_rng_states()
            loss = self._compute_loss(student, teacher, labels, keys, module)
            repeated = self._compute_loss(student, teacher, labels, keys, module)
            if rng_states != get_rng_states():
                self._fail("it draws random numbers, so runs would not be reproducible")
            if not torch.equal(loss, repeated):
                self._fail("it gives different values for the same batch")
            if not self.term.labelled:
                self._check_label_free(loss, student, teacher, keys, module)
            self._check_gradients(loss, student, teacher)
            half_inputs = _to_bfloat16(student), _to_bfloat16(teacher)
            half_loss = self._compute_loss(*half_inputs, labels, keys, module)
            self._check_half_precision(float(loss.detach()), half_loss)
        if self.on_gpus and (
            problem := meta_device_check.find_device_problem(lambda: self._run_on_meta(keys))
        ):
            self._fail(problem)
        other_inputs = make_sample_inputs(1)
        losses = [loss, self._compute_loss(*other_inputs, keys, module)]
        return [float(f"{float(value.detach()):.6g}") for value in losses]

    def _check_declaration(self) -> None:
        """Reject attributes of a LossTerm that cannot be used."""
        term = self.term
        reserved = {builtin.part for builtin in method.load_terms().values()} | RESERVED_NAMES
        if type(term.part) is not str or not _is_plain_name(term.part) or term.part in reserved:
            self._fail(
                f"part {term.part!r} is reserved or has other characters than a-z, 0-9 and _"
            )
        if type(term.revision) is not int or term.revision < 1:
            self._fail(f"revision {term.revision!r}: must be an integer of at least 1")
        if term.needs not in FEATURE_REQUIREMENTS:
            self._fail(f"needs {term.needs!r}: must be one of {'; '.join(FEATURE_REQUIREMENTS)}")
        if not _is_key_class(term.keys):
            self._fail("keys: expected a subclass of kdpipe.pydantic_base.StrictModel")
        try:
            term.keys()
        except ValidationError:
            self._fail("keys: each needs a default value")
        if type(term.labelled) is not bool:
            self._fail(f"labelled {term.labelled!r}: must be True or False")
        if term.warmup is not None and term.warmup not in term.keys.model_fields:
            self._fail(f"warmup {term.warmup!r}: must be the name of one of its keys")

    def _describe_key(self, key: str, value: Any) -> list[Any]:
        """Return the kind of a key and its default."""
        if not _is_plain_name(key):
            self._fail(
                f"keys: {key}: a key begins with a small letter and has only a-z, 0-9 and _, at "
                "most 20"
            )
        for kind, types in KEY_TYPES.items():
            if type(value) is types[-1]:
                return [kind, value]
        self._fail(f"keys: {key} = {value!r}: must be a number, a boolean or a string")

    def _make_module(
        self, student: ModelOutput, teacher: ModelOutput, keys: dict[str, Any]
    ) -> torch.nn.Module | None:
        """Build the module with the term's parameters; None if it has none."""
        if self.term.learnt is None:
            return None
        try:
            module = self.term.learnt(student, teacher, keys)
        except (Exception, SystemExit) as error:
            self._fail(f"learnt failed: {format_user_error(error)}")
        if not isinstance(module, torch.nn.Module) or not list(module.parameters()):
            self._fail("learnt: expected a torch.nn.Module with parameters")
        return module

    def _compute_loss(
        self,
        student: ModelOutput,
        teacher: ModelOutput,
        labels: Tensor,
        keys: dict[str, Any],
        module: torch.nn.Module | None,
    ) -> Tensor:
        """Return the loss of a batch; reject what is not one finite number."""
        modules = () if module is None else (module,)
        try:
            loss = self.term.compute(student, teacher, labels, keys, *modules)
        except (Exception, SystemExit) as error:
            self._fail(f"its loss failed: {format_user_error(error)}")
        if not isinstance(loss, Tensor) or loss.shape != () or not loss.isfinite():
            self._fail(f"its loss is {str(loss)[:60]}: expected one finite number in a tensor")
        return loss

    def _check_label_free(
        self,
        loss: Tensor,
        student: ModelOutput,
        teacher: ModelOutput,
        keys: dict[str, Any],
        module: torch.nn.Module | None,
    ) -> None:
        """Reject a term that declares not to use labels, and does."""
        modules = () if module is None else (module,)
        try:
            unlabelled_loss = self.term.compute(student, teacher, None, keys, *modules)
        except (Exception, SystemExit) as error:
            self._fail(
                f"labelled=False, and without labels its loss failed: {format_user_error(error)}"
            )
        if not isinstance(unlabelled_loss, Tensor) or not torch.equal(loss, unlabelled_loss):
            self._fail("labelled=False, but without labels its value differs")

    def _check_gradients(self, loss: Tensor, student: ModelOutput, teacher: ModelOutput) -> None:
        """Reject a loss without a finite gradient for the student, or with one for the teacher."""
        if not loss.requires_grad:
            self._fail("no gradient reaches the student")
        loss.backward()
        grads = [x.grad for x in _list_tensors(student) if x.grad is not None]
        if not grads or not any(bool(grad.any()) for grad in grads):
            self._fail("no gradient reaches the student")
        if not all(bool(grad.isfinite().all()) for grad in grads):
            self._fail("its gradient is not finite")
        if any(x.grad is not None for x in _list_tensors(teacher)):
            self._fail(
                "its gradient reaches the teacher, which must not change: detach the teacher's "
                "outputs"
            )

    def _check_half_precision(self, value: float, half_loss: Tensor) -> None:
        """Reject a loss for half-precision inputs that is not in float32, or is inaccurate."""
        half_value = float(half_loss.detach())
        is_close = abs(half_value - value) < HALF_PRECISION_TOLERANCE * (1 + abs(value))
        if half_loss.dtype != torch.float32 or not is_close:
            self._fail(
                f"for half-precision inputs it returns {half_value:.4g} in {half_loss.dtype}, "
                f"expected {value:.4g}: compute in float32 (kdpipe.losses.base.to_float32)"
            )

    def _run_on_meta(self, keys: dict[str, Any]) -> None:
        """Take a step on the device `meta`."""
        student, teacher, labels = make_sample_inputs()
        student, teacher = (
            _map_tensors(output, lambda x: x.detach().to(META).requires_grad_())
            for output in (student, teacher)
        )
        modules = ()
        if self.term.learnt is not None:
            modules = (self.term.learnt(student, teacher, keys).to(META),)
        self.term.compute(student, teacher, labels.to(META), keys, *modules).backward()

    def _fail(self, problem: str) -> NoReturn:
        """Raise KdpipeError with a problem."""
        raise KdpipeError(f"{self.config_key}: {self.path}: {problem}")


def make_sample_inputs(seed: int = 0) -> tuple[ModelOutput, ModelOutput, Tensor]:
    """Return fixed outputs of a student and a teacher for four images, and the images' labels."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    outputs = [
        ModelOutput(
            draw(N_IMAGES, N_CLASSES),
            [draw(N_IMAGES, channels * (i + 1), side, side) for i, side in enumerate(GROUP_SIDES)],
        )
        for channels in (3, 6)
    ]
    # Drawn last: the other numbers are part of the names of runs, and must not change.
    student, teacher = (
        output._replace(embedding=draw(N_IMAGES, size))
        for output, size in zip(outputs, EMBEDDING_SIZES, strict=True)
    )
    return student, teacher, torch.arange(N_IMAGES) % N_CLASSES


def _to_bfloat16(output: ModelOutput) -> ModelOutput:
    return _map_tensors(output, Tensor.bfloat16)


def _map_tensors(output: ModelOutput, transform: Callable[[Tensor], Tensor]) -> ModelOutput:
    """Return the outputs of a network with each tensor transformed."""
    logits, *groups, embedding = map(transform, _list_tensors(output))
    return ModelOutput(logits, groups, embedding)


def _list_tensors(output: ModelOutput) -> list[Tensor]:
    """Return all tensors of a network's outputs."""
    assert output.embedding is not None
    return [output.logits, *output.groups, output.embedding]


def _is_key_class(keys: object) -> bool:
    return isinstance(keys, type) and issubclass(keys, StrictModel)


def _is_plain_name(text: str) -> bool:
    return re.fullmatch(PLAIN_NAME, text) is not None

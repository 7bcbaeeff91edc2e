"""Trying a term of one's own before anything is trained with it: what a run will ask, once.

It is shown made logits, group outputs and embeddings, in float32 and in half precision. What would
make its runs wrong, or impossible to repeat, is said with the key of the study.
"""

import random
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from kdpipe.errors import KdpipeError
from kdpipe.learning import method
from kdpipe.learning.own import one_device
from kdpipe.learning.own.card import KINDS, PART, TermCard, agrees
from kdpipe.learning.own.code import blamed, found
from kdpipe.learning.term import NEEDS, Said, Term
from kdpipe.section import Section

IMAGES, CLASSES = 4, 5
SIDES = (4, 2)  # of the group outputs; the teacher has twice the channels
EMBEDDED = (6, 12)  # numbers of student and teacher before their classifiers
TAKEN = {"loss", "ce", "accuracy", "hits", "kl", "cross_entropy"}  # names in a curve or a record


def imported(where: str, path: str, code: Path | None) -> Term:
    """The term that a dotted path names. Raises KdpipeError if it is none."""
    term = found(where, path, code)
    if not isinstance(term, Term):
        raise KdpipeError(
            f"{where}: {path} is of type {type(term).__name__}, a kdpipe.learning.term.Term is "
            "wanted"
        )
    return term


def of_spec(own: dict, code: Path | None) -> Term:
    """The term of a run's spec, ready to be learned from.

    Raises KdpipeError if its code is not what the spec was made for: another revision, or another
    answer under the same one.
    """
    where = f"term {own['term']}"
    term = imported(where, own["term"], code)
    trial = Trial(where, own["term"], term)
    card = trial.card()
    if (card.revision, card.part, card.needs) != (own["revision"], own["part"], own["needs"]):
        raise KdpipeError(
            f"{where}: this run was planned with revision {own['revision']}, and its code is of "
            f"revision {card.revision}: type: kdpipe term STUDY, and start again"
        )
    found = card.answer
    if len(own["answer"]) > len(found):  # and with the keys of its method
        found = [*found, *trial.answer(dict(own["keys"]))]
    if not agrees(own["answer"], found):
        raise KdpipeError(
            f"{where}: it computes something else than when this run was planned, under the same "
            "revision: put its code back, or raise its revision and type: kdpipe term STUDY"
        )
    return term


class Trial:
    """One term, and what it is tried with."""

    def __init__(self, where: str, path: str, term: Term, on_gpus: bool = False):
        self.where, self.path, self.term, self.on_gpus = where, path, term, on_gpus

    def card(self) -> TermCard:
        """The card of a term that runs can use. Raises KdpipeError for one that none can."""
        self.is_sound()
        first = self.term.keys()
        return TermCard(
            term=self.path,
            title=self.term.title,
            part=self.term.part,
            revision=self.term.revision,
            needs=self.term.needs,
            keys={key: self.kind(key, value) for key, value in first.model_dump().items()},
            learnt=self.term.learnt is not None,
            answer=self.answer(first.model_dump()),
            labelled=self.term.labelled,
        )

    def is_sound(self) -> None:
        term = self.term
        known = {one.part for one in method.terms().values()} | TAKEN
        if type(term.part) is not str or not _plain(term.part) or term.part in known:
            self.refuse(f"part {term.part!r} is taken or not plain (a-z, 0-9 and _)")
        if type(term.revision) is not int or term.revision < 1:
            self.refuse(f"revision {term.revision!r}: a whole number from 1 on")
        if term.needs not in NEEDS:
            self.refuse(f"needs {term.needs!r}: one of {'; '.join(NEEDS)}")
        if not (isinstance(term.keys, type) and issubclass(term.keys, Section)):
            self.refuse("keys: a subclass of kdpipe.section.Section is wanted")
        try:
            term.keys()
        except ValidationError:
            self.refuse("keys: each needs a value to begin with")
        if type(term.labelled) is not bool:
            self.refuse(f"labelled {term.labelled!r}: True or False")
        if term.warmup is not None and term.warmup not in term.keys.model_fields:
            self.refuse(f"warmup {term.warmup!r}: the name of one of its keys")

    def kind(self, key: str, value: Any) -> list:
        for kind, types in KINDS.items():
            if type(value) is types[-1] and _plain(key):
                return [kind, value]
        self.refuse(f"keys: {key} = {value!r}: a plain name, and a number, a switch or a text")

    def with_keys(self, given: dict) -> list[float]:
        """The answer with the keys that a method gives. Raises KdpipeError for values that it
        refuses.
        """
        try:
            values = self.term.keys.model_validate(given).model_dump()
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            self.refuse(f"term_keys: {'; '.join(lines)}")
        return self.answer(values)

    def answer(self, keys: dict) -> list[float]:
        """What it says of made tensors; the same in half precision, and nothing to the teacher."""
        student, teacher, labels = made()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            learnt = self.grown(student, teacher, keys)
            before = _generators()
            loss = self.loss(student, teacher, labels, keys, learnt)
            again = self.loss(student, teacher, labels, keys, learnt)
            if before != _generators():
                self.refuse("it draws random numbers: a run could not be repeated")
            if not torch.equal(loss, again):
                self.refuse("it answers the same batch differently a second time")
            if not self.term.labelled:
                self.blind(loss, student, teacher, keys, learnt)
            self.gradients(loss, student, teacher)
            value = float(loss.detach())
            half = self.loss(_half(student), _half(teacher), labels, keys, learnt)
            tolerance = 0.05 * (1 + abs(value))
            if half.dtype != torch.float32 or not abs(float(half.detach()) - value) < tolerance:
                self.refuse(
                    f"in half precision it gives {float(half.detach()):.4g} in {half.dtype}, where "
                    f"it is {value:.4g}: compute in float32 (kdpipe.learning.term.full_precision)"
                )
        if self.on_gpus and (said := one_device.left(lambda: self.elsewhere(keys))):
            self.refuse(said)
        other = made(1)
        values = [loss, self.loss(*other, keys, learnt)]
        return [float(f"{float(value.detach()):.6g}") for value in values]

    def grown(self, student: Said, teacher: Said, keys: dict) -> torch.nn.Module | None:
        if self.term.learnt is None:
            return None
        try:
            module = self.term.learnt(student, teacher, keys)
        except (Exception, SystemExit) as error:
            self.refuse(f"learnt failed: {blamed(error)}")
        if not isinstance(module, torch.nn.Module) or not list(module.parameters()):
            self.refuse("learnt: a torch.nn.Module with parameters is wanted")
        return module

    def loss(self, student, teacher, labels, keys: dict, learnt) -> Tensor:
        own = () if learnt is None else (learnt,)
        try:
            loss = self.term.loss(student, teacher, labels, keys, *own)
        except (Exception, SystemExit) as error:
            self.refuse(f"its loss failed: {blamed(error)}")
        if not isinstance(loss, Tensor) or loss.shape != () or not loss.isfinite():
            self.refuse(f"its loss is {str(loss)[:60]}: one finite number in a tensor is wanted")
        return loss

    def blind(self, loss: Tensor, student: Said, teacher: Said, keys: dict, learnt) -> None:
        """It is what it is without labels, as it says."""
        try:
            own = () if learnt is None else (learnt,)
            without = self.term.loss(student, teacher, None, keys, *own)
        except (Exception, SystemExit) as error:
            self.refuse(f"labelled=False, and without labels its loss failed: {blamed(error)}")
        if not isinstance(without, Tensor) or not torch.equal(loss, without):
            self.refuse("labelled=False, and without labels it answers otherwise")

    def elsewhere(self, keys: dict) -> None:
        """A step on the device `meta`."""
        student, teacher, labels = made()
        student, teacher = (
            Said(logits, groups, embedding)
            for logits, *groups, embedding in (
                [x.detach().to(one_device.META).requires_grad_() for x in _all(said)]
                for said in (student, teacher)
            )
        )
        grown = self.term.learnt and self.term.learnt(student, teacher, keys).to(one_device.META)
        own = () if grown is None else (grown,)
        self.term.loss(student, teacher, labels.to(one_device.META), keys, *own).backward()

    def gradients(self, loss: Tensor, student: Said, teacher: Said) -> None:
        if not loss.requires_grad:
            self.refuse("no gradient of it reaches the student")
        loss.backward()
        ours = [x.grad for x in _all(student) if x.grad is not None]
        if not ours or not any(bool(grad.any()) for grad in ours):
            self.refuse("no gradient of it reaches the student")
        if not all(bool(grad.isfinite().all()) for grad in ours):
            self.refuse("its gradient is not finite")
        if any(x.grad is not None for x in _all(teacher)):
            self.refuse("its gradient reaches the teacher, which must stay fixed: detach its part")

    def refuse(self, why: str) -> NoReturn:
        raise KdpipeError(f"{self.where}: {self.path}: {why}")


def made(seed: int = 0) -> tuple[Said, Said, Tensor]:
    """What a student and a teacher might say of four images, and their labels."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    said = [
        Said(
            drawn(IMAGES, CLASSES),
            [drawn(IMAGES, channels * (i + 1), side, side) for i, side in enumerate(SIDES)],
        )
        for channels in (3, 6)
    ]
    # Last, since the answers of terms are in the names of their runs: the others stay as they were.
    student, teacher = (
        one._replace(embedding=drawn(IMAGES, size))
        for one, size in zip(said, EMBEDDED, strict=True)
    )
    return student, teacher, torch.arange(IMAGES) % CLASSES


def _half(said: Said) -> Said:
    logits, *groups, embedding = (one.bfloat16() for one in _all(said))
    return Said(logits, groups, embedding)


def _all(said: Said) -> list[Tensor]:
    """All that a network said."""
    assert said.embedding is not None
    return [said.logits, *said.groups, said.embedding]


def _plain(text: str) -> bool:
    return re.fullmatch(PART, text) is not None


def _generators() -> tuple:
    """Where the random generators stand that a term could draw from."""
    numbers: Any = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), str(numbers[1:]), list(numbers[1])

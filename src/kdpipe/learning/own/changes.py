"""Terms of one's own and their cards: made, and compared with what the code is now.

`make_cards` writes what a trial of each term finds; `compare` tries it again and sees whether it
has changed since. Each term is tried with the keys of every method that names it, and all mistakes
of a study's terms are in one answer.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kdpipe.errors import KdpipeError, StudyError
from kdpipe.learning.keys import MethodKeys
from kdpipe.learning.own import card as term_card
from kdpipe.learning.own.card import TermCard, agrees
from kdpipe.learning.own.code import staying
from kdpipe.learning.own.trial import Trial, imported
from kdpipe.results.files import write_json


@dataclass(frozen=True)
class Own:
    """The methods of a study by name, and where the code of their terms and its cards lie."""

    source: str  # the study's file, as messages name it
    methods: dict[str, MethodKeys]
    code: str | None
    on_gpus: bool = False  # whether they may run there

    @property
    def terms(self) -> dict[str, list[str]]:
        """The terms of one's own, each with the methods that name it."""
        found: dict[str, list[str]] = {}
        for name, method in self.methods.items():
            if method.term is not None:
                found.setdefault(method.term, []).append(name)
        return found

    def place(self, term: str) -> Path:
        return term_card.place(Path(self.code or ""), term)


def make_cards(own: Own) -> list[str]:
    """Write the card of every term of the study's own; a line for each. Raises StudyError."""
    if not own.terms:
        raise StudyError(f"{own.source}: there are no terms of your own in it (methods: term)")
    lines = []
    for card in _each(own, _kept):
        path = own.place(card.term)
        renamed = card.answers and _said_nothing_of_keys(path)
        write_json(path, term_card.sealed(card))
        keys = ", ".join(f"{key} ({kind}, {value!r})" for key, (kind, value) in card.keys.items())
        line = f"{path}: {card.title}, column {card.part}, of the teacher's {card.needs}"
        line += f"; keys: {keys}" if keys else "; no keys"
        if renamed:
            line += (
                "; its old card held no answer with term_keys: runs with these get other names, "
                "and are made anew"
            )
        lines.append(line + ("; it has parameters of its own" if card.learnt else ""))
    return lines


def compare(own: Own) -> None:
    """Raise StudyError if a term of the study's own fails, or is not what its card says."""
    _each(own, lambda trial, card, path: _unchanged(trial, card, path, own.source))


@staying()
def _each(own: Own, look: Callable[[Trial, TermCard, Path], TermCard]) -> list[TermCard]:
    """Try every term with the keys of each of its methods, and look at its old card; all mistakes
    in one answer.
    """
    code = Path(own.code) if own.code else None
    found, mistakes = [], []
    for term, names in own.terms.items():
        where = f"methods.{names[0]}.term"
        try:
            trial = Trial(where, term, imported(where, term, code), own.on_gpus)
            card = trial.card()
        except KdpipeError as error:
            mistakes.append(str(error))
            continue
        answers: list[list] = []
        for name in names:
            given = own.methods[name].term_keys
            try:
                said = trial.with_keys(given)
            except KdpipeError as error:
                mistakes.append(str(error).replace(where, f"methods.{name}", 1))
                continue
            if card.with_keys(given) is None and [card.pairs(given), said] not in answers:
                answers.append([card.pairs(given), said])
        try:
            found.append(look(trial, replace(card, answers=answers), own.place(term)))
        except KdpipeError as error:
            mistakes.append(str(error))
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise StudyError("\n  ".join([f"{own.source}: {count}", *mistakes]))
    return found


def _kept(trial: Trial, card: TermCard, path: Path) -> TermCard:
    """The card to be written: with the old answers where they agree, since they are in the names of
    runs and machines round differently. Refuses two computations under one revision.
    """
    try:
        old = term_card.read(path, "", wants_seal=False)
    except KdpipeError:
        return card
    kept = {"answer": old.answer, "answers": old.answers}
    if replace(card, **kept, labelled=old.labelled) != old:
        return card
    if _other_answers(trial, card, old):
        raise KdpipeError(
            f"{card.term}: it computes something else than under the same revision before: raise "
            f"its revision (or remove {path}, if nothing was trained with it)"
        )
    known = old.answers or []  # of other studies too, which name the same term
    new = [one for one in card.answers or () if one[0] not in [keys for keys, _ in known]]
    return replace(card, answer=old.answer, answers=[*known, *new])


def _said_nothing_of_keys(path: Path) -> bool:
    """Whether there is a card of an earlier version, by which runs were named."""
    try:
        return term_card.read(path, "", wants_seal=False).answers is None
    except KdpipeError:
        return False


def _other_answers(trial: Trial, card: TermCard, old: TermCard) -> bool:
    """Whether a term answers otherwise than its old card says, with any keys that this one holds.

    What it refuses now it answers otherwise.
    """
    try:
        now = [trial.answer(dict(keys)) for keys, _ in old.answers or ()]
    except KdpipeError:
        return True
    pairs = zip([old.answer, *(a for _, a in old.answers or ())], [card.answer, *now], strict=True)
    return not all(agrees(before, after) for before, after in pairs)


def _unchanged(trial: Trial, card: TermCard, path: Path, source: str) -> TermCard:
    old = term_card.read(path, f"type: kdpipe term {shlex.quote(source)}")
    same = replace(card, answer=old.answer, answers=old.answers) == old
    if not same or _other_answers(trial, card, old):
        raise KdpipeError(
            f"{card.term}: it is not what its card {path} says: if that is meant, raise its "
            f"revision and type: kdpipe term {shlex.quote(source)}"
        )
    return card

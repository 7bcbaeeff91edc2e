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
from kdpipe.learning.method import MethodKeys
from kdpipe.learning.own import card as term_card
from kdpipe.learning.own.card import TermCard, agrees
from kdpipe.learning.own.trial import Trial, imported
from kdpipe.results.files import write_json


@dataclass(frozen=True)
class Own:
    """The methods of a study by name, and where the code of their terms and its cards lie."""

    source: str  # the study's file, as messages name it
    methods: dict[str, MethodKeys]
    code: str | None

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
        write_json(path, term_card.sealed(card))
        keys = ", ".join(f"{key} ({kind}, {value!r})" for key, (kind, value) in card.keys.items())
        line = f"{path}: {card.title}, column {card.part}, of the teacher's {card.needs}"
        line += f"; keys: {keys}" if keys else "; no keys"
        lines.append(line + ("; it has parameters of its own" if card.learnt else ""))
    return lines


def compare(own: Own) -> None:
    """Raise StudyError if a term of the study's own fails, or is not what its card says."""
    _each(own, lambda card, path: _unchanged(card, path, own.source))


def _each(own: Own, look: Callable[[TermCard, Path], TermCard]) -> list[TermCard]:
    """Try every term, and look at its old card; all mistakes in one answer."""
    code = Path(own.code) if own.code else None
    found, mistakes = [], []
    for term, names in own.terms.items():
        where = f"methods.{names[0]}.term"
        try:
            trial = Trial(where, term, imported(where, term, code))
            found.append(look(trial.card(), own.place(term)))
        except KdpipeError as error:
            mistakes.append(str(error))
            continue
        for name in names:
            try:
                trial.with_keys(own.methods[name].term_keys)
            except KdpipeError as error:
                mistakes.append(str(error).replace(where, f"methods.{name}", 1))
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise StudyError("\n  ".join([f"{own.source}: {count}", *mistakes]))
    return found


def _kept(card: TermCard, path: Path) -> TermCard:
    """The card to be written: with the old answer where the two agree, since it is in the names of
    runs and machines round differently. Refuses two computations under one revision.
    """
    try:
        old = term_card.read(path, "", wants_seal=False)
    except KdpipeError:
        return card
    if replace(card, answer=old.answer) != old:
        return card
    if not agrees(old.answer, card.answer):
        raise KdpipeError(
            f"{card.term}: it computes something else than under the same revision before: raise "
            f"its revision (or remove {path}, if nothing was trained with it)"
        )
    return old


def _unchanged(card: TermCard, path: Path, source: str) -> TermCard:
    old = term_card.read(path, f"type: kdpipe term {shlex.quote(source)}")
    if replace(card, answer=old.answer) != old or not agrees(old.answer, card.answer):
        raise KdpipeError(
            f"{card.term}: it is not what its card {path} says: if that is meant, raise its "
            f"revision and type: kdpipe term {shlex.quote(source)}"
        )
    return card

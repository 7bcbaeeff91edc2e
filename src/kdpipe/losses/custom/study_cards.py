"""The cards of a study's custom terms, written after a trial and compared with the code.

A card whose digests match the current files is valid without a trial: nothing is imported for it.
Where they differ (or an older card has none) the term is tried again with the keys of every method
that names it. All errors in a study's terms are in one message.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpipe.errors import KdpipeError, StudyError, raise_study_errors
from kdpipe.losses.config import MethodConfig
from kdpipe.losses.custom import card as term_card
from kdpipe.losses.custom.card import TermCard, answers_match
from kdpipe.runs.files import write_json
from kdpipe.text import format_command, format_write_command
from kdpipe.user_code import (
    ADDED_DIGESTS,
    are_of_reached_code,
    find_other_libraries,
    forbid_exit,
    is_code_unchanged,
    require_unchanged_code,
)

if TYPE_CHECKING:
    from kdpipe.losses.custom.validate import TermValidator


@dataclass(frozen=True)
class CustomTerms:
    """A study's custom terms.

    Attributes
    ----------
    source : str
        The study's file, as messages name it.
    methods : dict of str to MethodConfig
        The study's methods by name.
    code : str or None
        Folder of the terms' code and cards.
    on_gpus : bool
        Whether they may run on GPUs, and are checked for that.
    """

    source: str
    methods: dict[str, MethodConfig]
    code: str | None
    on_gpus: bool = False

    @property
    def terms(self) -> dict[str, list[str]]:
        """Return the custom terms, each with the names of the methods that use it."""
        methods_of_term: dict[str, list[str]] = {}
        for name, method in self.methods.items():
            if method.term is not None:
                methods_of_term.setdefault(method.term, []).append(name)
        return methods_of_term

    def card_path(self, term: str) -> Path:
        """Return the path of a term's card."""
        return term_card.term_card_path(Path(self.code or ""), term)


def write_term_cards(custom_terms: CustomTerms, same: bool = False) -> list[str]:
    """Try every custom term of a study and write its card.

    Parameters
    ----------
    custom_terms : CustomTerms
        The terms.
    same : bool, default False
        Whether their author says that changed code computes the same, where the trial agrees.

    Returns
    -------
    list of str
        One line for each card.

    Raises
    ------
    StudyError
        With all errors; then no card is written.
    """
    if not custom_terms.terms:
        raise StudyError(f"{custom_terms.source}: it has no custom terms (methods: term)")
    lines: list[str] = []
    for card in _validate_each(
        custom_terms,
        custom_terms.terms,
        lambda validator, card, path: _merge_old_card(validator, card, path, custom_terms, same),
    ):
        path = custom_terms.card_path(card.term)
        renames_runs = card.answers and _lacks_key_answers(path)
        write_json(path, term_card.dump_term_card(card))
        keys = ", ".join(f"{key} ({kind}, {value!r})" for key, (kind, value) in card.keys.items())
        line = f"{path}: {card.title}, column {card.part}, of the teacher's {card.needs}"
        line += f"; keys: {keys}" if keys else "; no keys"
        if renames_runs:
            line += (
                "; its old card had no values for term_keys: runs with these get new names and are "
                "trained again"
            )
        lines.append(line + ("; with trainable parameters" if card.learnt else ""))
    return lines


def check_term_cards(custom_terms: CustomTerms) -> list[str]:
    """Compare the cards of a study with its code, which is imported only if they differ.

    A card from before digests gets that of the code once the trial agrees.

    Returns
    -------
    list of str
        A line for each such card, and for each that was made with other versions of libraries.

    Raises
    ------
    StudyError
        With all terms that fail, or do not match their cards.
    """
    terms = custom_terms.terms.items()
    lines: list[str] = []
    _validate_each(
        custom_terms,
        {term: names for term, names in terms if not _is_current(custom_terms, term, names)},
        lambda validator, card, path: _check_unchanged(validator, card, path, custom_terms, lines),
    )
    for path in sorted(map(custom_terms.card_path, custom_terms.terms)):
        card = term_card.read_term_card(path, "")
        if changes := find_other_libraries(card.libraries):
            lines.append(f"{path} was written with other libraries: {'; '.join(changes)}")
    return lines


def _is_current(custom_terms: CustomTerms, term: str, names: list[str]) -> bool:
    """Return whether a term's code still has the digests in its card.

    It must have been tried with the keys of all methods that use it.
    """
    try:
        card = term_card.read_term_card(custom_terms.card_path(term), "")
    except KdpipeError:
        return False
    all_keys = [custom_terms.methods[name].term_keys for name in names]
    return (
        card.term == term
        and is_code_unchanged(card.code, Path(custom_terms.code or ""), term)
        and (card.gpu_checked or not custom_terms.on_gpus)
        and not any(map(card.find_key_errors, all_keys))
        and all(card.with_keys(term_keys) is not None for term_keys in all_keys)
    )


@forbid_exit()
def _validate_each(
    custom_terms: CustomTerms,
    terms: dict[str, list[str]],
    compare_card: Callable[["TermValidator", TermCard, Path], TermCard],
) -> list[TermCard]:
    """Try terms with the keys of each of their methods and compare each with its old card.

    All errors are raised together.
    """
    if not terms:
        return []
    from kdpipe.losses.custom.validate import TermValidator, import_term  # torch

    code = Path(custom_terms.code) if custom_terms.code else None
    cards: list[TermCard] = []
    errors: list[str] = []
    for term, names in terms.items():
        config_key = f"methods.{names[0]}.term"
        try:
            validator = TermValidator(
                config_key, term, import_term(config_key, term, code), custom_terms.on_gpus, code
            )
            card = validator.card()
        except KdpipeError as error:
            errors.append(str(error))
            continue
        answers: list[list[Any]] = []
        for name in names:
            term_keys = custom_terms.methods[name].term_keys
            try:
                answer = validator.with_keys(term_keys)
            except KdpipeError as error:
                errors.append(str(error).replace(config_key, f"methods.{name}", 1))
                continue
            entry = [card.pairs(term_keys), answer]
            if card.with_keys(term_keys) is None and entry not in answers:
                answers.append(entry)
        try:
            path = custom_terms.card_path(term)
            cards.append(compare_card(validator, replace(card, answers=answers), path))
        except KdpipeError as error:
            errors.append(str(error))
    raise_study_errors(custom_terms.source, errors)
    return cards


def _merge_old_card(
    validator: "TermValidator", card: TermCard, path: Path, custom_terms: CustomTerms, same: bool
) -> TermCard:
    """Return the card to be written, with the old values where they agree.

    The old ones are part of the names of runs, and machines round differently. Two computations
    under one revision are rejected.
    """
    try:
        old = term_card.read_term_card(path, "", require_seal=False)
    except KdpipeError:
        return card
    if replace(card, answer=old.answer, answers=old.answers, labelled=old.labelled) != old:
        return card
    if _answers_differ(validator, card, old):
        raise KdpipeError(
            f"{card.term}: its values have changed under the same revision: raise its revision (or "
            f"remove {path}, if nothing was trained with it)"
        )
    if not same:
        _refuse_changed_code(old, custom_terms)
    old_answers = old.answers or []  # also of other studies that use the same term
    old_keys = [keys for keys, _ in old_answers]
    new_answers = [entry for entry in card.answers or () if entry[0] not in old_keys]
    return replace(card, answer=old.answer, answers=[*old_answers, *new_answers])


def _lacks_key_answers(path: Path) -> bool:
    """Return whether there is a card of an earlier version, which runs were named by."""
    try:
        return term_card.read_term_card(path, "", require_seal=False).answers is None
    except KdpipeError:
        return False


def _answers_differ(validator: "TermValidator", card: TermCard, old: TermCard) -> bool:
    """Return whether a term's values differ from its old card, for any keys of that card.

    Keys that the term no longer accepts count as a difference.
    """
    try:
        current = [validator.answer(dict(keys)) for keys, _ in old.answers or ()]
    except KdpipeError:
        return True
    pairs = zip(
        [old.answer, *(answer for _, answer in old.answers or ())],
        [card.answer, *current],
        strict=True,
    )
    return not all(answers_match(before, after) for before, after in pairs)


def _check_unchanged(
    validator: "TermValidator",
    card: TermCard,
    path: Path,
    custom_terms: CustomTerms,
    lines: list[str],
) -> TermCard:
    """Raise KdpipeError if a term does not match its card; add digests to one without."""
    hint = f"run: {format_write_command(custom_terms.source)}"
    old = term_card.read_term_card(path, hint)
    is_same = replace(card, answer=old.answer, answers=old.answers) == old
    if not is_same or _answers_differ(validator, card, old):
        raise KdpipeError(
            f"{card.term}: it does not match its card {path}: if this is intended, raise its "
            f"revision and {hint}"
        )
    if card.code is not None and not are_of_reached_code(old.code):
        complete = replace(
            old, code=card.code, gpu_checked=card.gpu_checked, libraries=card.libraries
        )
        write_json(path, term_card.dump_term_card(complete))
        lines.append(f"{path}: {ADDED_DIGESTS}")
    else:
        _refuse_changed_code(old, custom_terms)
    return card


def _refuse_changed_code(old: TermCard, custom_terms: CustomTerms) -> None:
    """Raise KdpipeError if the code of a card was changed, though the trial agrees with it."""
    require_unchanged_code(
        old.code,
        Path(custom_terms.code or ""),
        old.term,
        old.term,
        "its revision",
        format_command("term", custom_terms.source),
        format_write_command(custom_terms.source),
    )

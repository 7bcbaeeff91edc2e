"""Cards of custom loss terms: what is known about a term without importing its code.

A method names a term as `term: module.NAME`. The plan must know what it needs from a teacher, but
imports neither torch nor a user's code; so `kdpipe term STUDY` imports it once, tries it, and
writes a card next to the code, `module.NAME.term.json`. The fields that determine a run are part of
the run's spec: a job needs the code but not the card. The digests of the code are not part of any
name; with them `kdpipe check` compares a card without importing anything.
"""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdpipe import hashing, user_code
from kdpipe.errors import KdpipeError
from kdpipe.losses.base import FEATURE_REQUIREMENTS
from kdpipe.pydantic_base import DOTTED_PATTERN
from kdpipe.runs.files import READ_ERRORS, read_regular_file
from kdpipe.text import did_you_mean, format_value, format_write_command, join_names

PLAIN_NAME = r"[a-z][a-z0-9_]{0,19}"
KEY_TYPES = {"switch": (bool,), "whole number": (int,), "number": (int, float), "text": (str,)}
CODE_KEYS = ("code", "gpu_checked")  # missing in cards from before digests


@dataclass(frozen=True)
class TermCard:
    """What is known about one custom term.

    Attributes
    ----------
    term : str
        Dotted path, `module.NAME`.
    title, part, revision, needs
        As declared by the term (`LossTerm`).
    keys : dict of str to list
        Its keys, each with its kind (`KEY_TYPES`) and default.
    learnt : bool
        Whether it has trainable parameters.
    answer : list of float
        Its values for fixed tensors: changed code gives different ones.
    answers : list of list, or None
        The same for keys that differ from the defaults: those of methods, each as `pairs`, and the
        values. None in an older card.
    labelled : bool
        Whether it uses labels; older cards lack this key, and any term was accepted.
    code : dict of str to str, or None
        Digests of the code that it reaches, by file (`code_digest`).
    gpu_checked : bool
        Whether it was also checked for what would fail on a GPU.
    libraries : dict of str to str, or None
        Versions of the installed packages that its code names; a note, which nothing depends on.
    """

    term: str
    title: str
    part: str
    revision: int
    needs: str
    keys: dict[str, list[Any]]
    learnt: bool
    answer: list[float]
    answers: list[list[Any]] | None = None
    labelled: bool = True
    code: dict[str, str] | None = field(default=None, compare=False)
    gpu_checked: bool = field(default=False, compare=False)
    libraries: dict[str, str] | None = field(default=None, compare=False)

    def values(self, term_keys: dict[str, Any]) -> dict[str, Any]:
        """Return every key of the term with its value, from a method or by default."""
        values = {key: term_keys.get(key, value) for key, (_, value) in self.keys.items()}
        return {
            key: float(value) if self.keys[key][0] == "number" else value
            for key, value in values.items()
        }

    def pairs(self, term_keys: dict[str, Any]) -> list[list[Any]]:
        """Return the values of all keys in the form of a spec."""
        return sorted([key, value] for key, value in self.values(term_keys).items())

    def with_keys(self, term_keys: dict[str, Any]) -> list[float] | None:
        """Return the values for a method's keys, in addition to those for the defaults.

        None if these keys were never tried; empty if they are the defaults.
        """
        pairs = self.pairs(term_keys)
        if pairs == self.pairs({}):
            return []
        return next((answer for keys, answer in self.answers or () if keys == pairs), None)

    def spec(self, weight: float, term_keys: dict[str, Any]) -> dict[str, Any]:
        """Return the `own_term` of a run's spec: what determines its bytes."""
        return {
            "term": self.term,
            "revision": self.revision,
            "part": self.part,
            "needs": self.needs,
            "weight": weight,
            "keys": self.pairs(term_keys),
            "answer": [*self.answer, *(self.with_keys(term_keys) or ())],
        }

    def find_key_errors(self, term_keys: dict[str, Any]) -> list[str]:
        """Return the errors in a method's keys, each as `key: message`."""
        errors: list[str] = []
        for key, value in term_keys.items():
            if key not in self.keys:
                guess = did_you_mean(key, self.keys)
                errors.append(f"{key}: unknown key{guess} (allowed: {join_names(self.keys)})")
                continue
            kind = self.keys[key][0]
            if type(value) not in KEY_TYPES[kind]:
                errors.append(f"{key}: {format_value(value)}: expected a {kind}")
        return errors


def term_card_path(folder: Path, term: str) -> Path:
    """Return the path of a term's card."""
    return folder / f"{term}.term.json"


def load_term_card(folder: Path, term: str, config_key: str, study: str) -> TermCard:
    """Load the card of a term.

    Parameters
    ----------
    folder : Path
        The study's `code` folder.
    term : str
        Dotted path of the term.
    config_key : str
        Key of the study that names it.
    study : str
        The study's file, as named in messages.

    Raises
    ------
    KdpipeError
        If it has none; the message has the command that writes it.
    """
    path, hint = term_card_path(folder, term), f"run: {format_write_command(study)}"
    if not path.exists():
        raise KdpipeError(f"{config_key}: {term} has no card yet at {path}; {hint}")
    card = read_term_card(path, hint)
    if card.term != term:
        raise KdpipeError(f"{config_key}: {path} is the card of {card.term}; {hint}")
    return card


def dump_term_card(card: TermCard) -> dict[str, Any]:
    """Return a card as JSON text, with its checksum."""
    content = json.loads(json.dumps(vars(card)))
    if card.code is None:
        for key in CODE_KEYS:
            del content[key]
    if card.libraries is None:
        del content["libraries"]
    return hashing.add_checksum(content)


def read_term_card(path: Path, hint: str, require_seal: bool = True) -> TermCard:
    """Read a card.

    Parameters
    ----------
    path : Path
        Its file.
    hint : str
        What to do about a file that is not a card; ends the message.
    require_seal : bool, default True
        Whether to reject a card from before cards had checksums.

    Raises
    ------
    KdpipeError
        If the file is not a card, or was edited by hand.
    """
    try:
        content = json.loads(read_regular_file(path, 2**20))
        if require_seal and "seal" not in content:
            raise ValueError("it has no checksum: an earlier version wrote it")
        if "seal" in content and content != hashing.add_checksum(content):
            raise ValueError("it was edited by hand")
        content.pop("seal", None)
        card = TermCard(**content)
        _check_types(card)
    except READ_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise KdpipeError(f"{path} is not a card of a loss term ({reason}); {hint}") from None
    return card


def is_valid_term_spec(term_spec: dict[str, Any]) -> bool:
    """Return whether the `own_term` of a spec is well formed."""
    expected = {"term", "revision", "part", "needs", "weight", "keys", "answer"}
    return bool(
        term_spec.keys() == expected
        and re.match(DOTTED_PATTERN, term_spec["term"])
        and re.fullmatch(PLAIN_NAME, term_spec["part"])
        and type(term_spec["revision"]) is int
        and term_spec["revision"] > 0
        and term_spec["needs"] in FEATURE_REQUIREMENTS
        and _is_number(term_spec["weight"])
        and term_spec["weight"] > 0
        and all(len(pair) == 2 and re.fullmatch(PLAIN_NAME, pair[0]) for pair in term_spec["keys"])
        and all(map(_is_number, term_spec["answer"]))
    )


def answers_match(a: list[float], b: list[float]) -> bool:
    """Return whether values are equal up to rounding, which differs between machines."""
    return len(a) == len(b) and all(
        math.isclose(x, y, rel_tol=1e-3, abs_tol=1e-6) for x, y in zip(a, b, strict=True)
    )


def _check_types(card: TermCard) -> None:
    """Raise ValueError for a field that is invalid for a term."""
    if not is_valid_term_spec(card.spec(1.0, {})) or type(card.title) is not str:
        raise ValueError("its fields are not those of a term")
    for key in ("labelled", "gpu_checked"):
        if type(getattr(card, key)) is not bool:
            value = format_value(getattr(card, key))
            raise ValueError(f"{key}: {value} is neither true nor false")
    for key, (kind, value) in card.keys.items():
        if not (re.fullmatch(PLAIN_NAME, key) and type(value) in KEY_TYPES[kind]):
            raise ValueError(f"keys: {key} is {format_value(value)}")
    for keys, answer in card.answers or ():
        if keys != card.pairs(dict(keys)) or not all(map(_is_number, answer)):
            raise ValueError(f"answers: {format_value(keys)} are not its keys")
    if not user_code.are_code_digests(card.code):
        raise ValueError("code: these are not digests of files")
    if not user_code.are_versions(card.libraries):
        raise ValueError("libraries: these are not versions of packages")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)

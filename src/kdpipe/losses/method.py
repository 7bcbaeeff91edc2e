"""A method: which terms a student learns from, their weights, and when the teacher stops.

In the spec of a run a method is a flat mapping; a term of weight 0 writes nothing into it, so a new
file in `losses` renames no run. KD is the exception: it was the first, and its keys are in every
spec. The keys of a study are in `config`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdpipe.hashing import REVISIONS
from kdpipe.losses.base import LossTerm, parse_needs
from kdpipe.losses.config import KD_TERM, MethodConfig, load_terms
from kdpipe.losses.custom.card import TermCard
from kdpipe.text import format_value

MODULE_KEYS = ("student_modules", "teacher_modules")
CUSTOM_TERM = "own_term"  # in a spec: the custom term


@dataclass(frozen=True)
class ActiveTerm:
    """A term of a run, as its spec has it.

    `term` is None for a custom one, which only a job imports.
    """

    name: str
    part: str
    weight: float
    keys: dict[str, Any]
    needs: str
    term: LossTerm | None


def build_method_spec(
    method: MethodConfig,
    epochs: int,
    card: TermCard | None = None,
    recipe_epochs: int | None = None,
) -> dict[str, Any]:
    """Return the `method` of a run's spec.

    Parameters
    ----------
    method : MethodConfig
    epochs : int
        Of the run: its stop becomes a number of epochs, and full KD teaches to the end.
    card : TermCard, optional
        The card of its custom term.
    recipe_epochs : int, optional
        Of the recipe in which the method counts its stop and warm-ups, where the run is of another
        length: numbers of epochs then follow in proportion, as shares do.
    """
    counted_in = recipe_epochs or epochs
    stop_epoch = (
        None if method.stop_epoch is None else resolve_epochs(method.stop_epoch, epochs, counted_in)
    )
    is_stopped = stop_epoch is not None and stop_epoch < epochs
    weight_after_stop = 1.0 if method.ce_weight_after_stop is None else method.ce_weight_after_stop
    spec: dict[str, Any] = {
        "loss": KD_TERM,
        "revision": load_terms()[KD_TERM].revision,
        "ce_weight": method.ce_weight,
        "kd_epochs": stop_epoch if is_stopped else epochs,
        "ce_weight_after_stop": weight_after_stop if is_stopped else None,
    }
    for name, term in load_terms().items():
        if name == KD_TERM or getattr(method, f"{name}_weight"):
            spec |= {key: getattr(method, key) for key in term.keys.model_fields}
            spec |= {} if name == KD_TERM else {f"{name}_revision": term.revision}
            if term.warmup is not None:
                spec[term.warmup] = resolve_epochs(spec[term.warmup], epochs, counted_in)
    if method.standardise:
        spec |= {"standardise": True, "standardise_revision": REVISIONS["standardise"]}
    if method.unlabelled:  # `runs.spec.build_unlabelled_spec` has which images these are
        spec["unlabelled"] = method.unlabelled
    if method.student_modules is not None:
        spec |= {key: list(getattr(method, key)) for key in MODULE_KEYS}
    if card is not None:
        spec[CUSTOM_TERM] = card.spec(method.term_weight, method.term_keys)
    return spec


def resolve_epochs(epochs_or_share: float, epochs: int, recipe_epochs: int | None = None) -> int:
    """Return a whole number of epochs, which is one at least unless it is 0.

    A share is one of `epochs`; a number counts in epochs of the recipe, by default as many, and
    follows in proportion.
    """
    if not epochs_or_share:
        return 0
    if epochs_or_share < 1:
        return max(1, round(epochs_or_share * epochs))
    return max(1, round(epochs_or_share * epochs / (recipe_epochs or epochs)))


def active_terms(method: Mapping[str, Any]) -> list[ActiveTerm]:
    """Return the terms of a spec's `method` in the order of the sum: KD, at weight 0 too, first."""
    entries: list[ActiveTerm] = []
    for name, term in load_terms().items():
        if weight := method.get(f"{name}_weight", 0.0) or name == KD_TERM:
            keys = {key: method[key] for key in term.keys.model_fields}
            weight = method[f"{name}_weight"]
            entries.append(ActiveTerm(name, term.part, weight, keys, term.needs, term))
    if custom := method.get(CUSTOM_TERM):
        entries.append(
            ActiveTerm(
                custom["term"],
                custom["part"],
                custom["weight"],
                dict(custom["keys"]),
                custom["needs"],
                None,
            )
        )
    return entries


def required_features(method: Mapping[str, Any]) -> frozenset[str]:
    """Return what the terms of a spec's `method` look at beside logits: groups, embedding."""
    return frozenset[str]().union(
        *(parse_needs(entry.needs) for entry in active_terms(method) if entry.weight)
    )


def choose_teacher_source(method: Mapping[str, Any], preference: str) -> str:
    """Return how a student gets its teacher's outputs.

    Parameters
    ----------
    method : dict
        The `method` of a run's spec.
    preference : str
        `live` or `table`, where both would do; a cache holds logits alone.

    Returns
    -------
    str
        `live`, or the precision of a logit cache: `float16`, `float32`.
    """
    if preference == "live" or required_features(method):
        return "live"
    weighted = [entry for entry in active_terms(method) if entry.weight]
    is_precise = any(entry.term is None or entry.term.needs_fp32(entry.keys) for entry in weighted)
    return "float32" if is_precise else "float16"


def find_fp32_terms(method: Mapping[str, Any]) -> list[str]:
    """Return the terms of a spec's `method` for which a teacher must not answer in bfloat16.

    They use logits, and the rounding of logits matters to them: KD below T = 2, for instance. Of a
    custom term nothing is known. Returned are titles of terms, as messages name them.
    """
    entries = [entry for entry in active_terms(method) if entry.weight]
    return [
        entry.term.title if entry.term else entry.name
        for entry in entries
        if entry.term is None
        or (entry.term.needs == "logits" and entry.term.needs_fp32(entry.keys))
    ]


def find_fp32_terms_of_config(config: MethodConfig) -> list[str]:
    """Return the terms of a study's method for which a teacher must not answer in bfloat16."""
    return [*([config.term] if config.term else []), *find_fp32_terms(vars(config))]


def check_revisions(method: Mapping[str, Any]) -> None:
    """Raise KeyError unless every term of a spec's `method` states its revision."""
    names = [entry.name for entry in active_terms(method) if entry.term is not None]
    keys = ["revision" if name == KD_TERM else f"{name}_revision" for name in names]
    keys += ["standardise_revision"] if method.get("standardise") else []
    if missing := [key for key in keys if method.get(key) is None]:
        raise KeyError(*missing)


def report_columns(method: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a report about a method: the weight of CE, and its terms.

    The keys of the first terms are a column each, at their default where the term is absent; all
    others are described in one column, `terms`, where there are any.
    """
    row: dict[str, Any] = {}
    for name, term in load_terms().items():
        if term.is_in_every_report:
            defaults = {key: field.default for key, field in term.keys.model_fields.items()}
            row |= {key: method.get(key, value) for key, value in defaults.items()}
        if name == KD_TERM:
            row["ce_weight"] = method["ce_weight"]
    if method.get("unlabelled"):
        row |= {key: method[key] for key in ("unlabelled", "unlabelled_images")}
    entries = [
        entry
        for entry in active_terms(method)
        if not (entry.term and entry.term.is_in_every_report)
    ]
    descriptions = [
        *map(_format_term, entries),
        *(["standardised logits"] if method.get("standardise") else []),
        *([_format_modules(method)] if method.get("student_modules") else []),
    ]
    return row | ({"terms": " + ".join(descriptions)} if descriptions else {})


def _format_modules(method: Mapping[str, Any]) -> str:
    """Return `features of a, b (teacher c, d)`: the modules that terms compare."""
    student, teacher = (", ".join(method[key]) for key in MODULE_KEYS)
    return f"features of {student} (teacher {teacher})"


def _format_term(entry: ActiveTerm) -> str:
    """Return `2 mine (alpha 1)`: weight, name and keys."""
    keys = [
        f"{key} {format_value(value)}"
        for key, value in entry.keys.items()
        if key != f"{entry.name}_weight"
    ]
    suffix = f" ({', '.join(keys)})" if keys else ""
    return f"{entry.weight:g} {entry.term.short_title if entry.term else entry.part}{suffix}"


def method_kind(method: Mapping[str, Any], epochs: int, precisions: Sequence[str] = ()) -> str:
    """Return the kind of a method: kd, to the end; eskd, stopped early; at or at+kd by its parts.

    A method other than KD alone on the logits as they are has `, standardised`, `, unlabelled` and
    `, stopped` appended, where it is that. `precisions` say where it computes in another precision
    than the rest of its study, such as `taught in bfloat16`; they are appended too.
    """
    is_stopped, is_standardized = method["kd_epochs"] < epochs, method.get("standardise")
    parts = sorted(entry.part for entry in active_terms(method) if entry.weight)
    has_unlabelled = bool(method.get("unlabelled"))
    if parts == [KD_TERM] and not is_standardized and not has_unlabelled and not precisions:
        return "eskd" if is_stopped else KD_TERM
    marks = [", standardised"] * bool(is_standardized) + [", unlabelled"] * has_unlabelled
    marks += [", stopped"] * is_stopped + [f", {precision}" for precision in precisions]
    return "+".join(parts) + "".join(marks)


def is_plain_kd(kind: object) -> bool:
    """Return whether a kind is KD alone as in the paper, to the end or stopped early.

    What has no kind counts as KD.
    """
    return kind in ("kd", "eskd", "", None)


def short_label(kind: str) -> str:
    """Return a kind as tables print it: full KD, ESKD, AT + KD, standardised DKD stopped early."""
    if kind in ("kd", "eskd"):
        return "full KD" if kind == "kd" else "ESKD"
    parts, *marks = kind.split(", ")
    shorts = {term.part: term.short_title for term in load_terms().values()}
    text = " + ".join(shorts.get(part, part) for part in parts.split("+"))
    text = f"standardised {text}" if "standardised" in marks else text
    text += " with unlabelled images" if "unlabelled" in marks else ""
    text += " stopped early" if "stopped" in marks else ""
    return " ".join([text, *_select_precisions(marks)])


def _select_precisions(marks: list[str]) -> list[str]:
    """Return those marks of a kind that name a precision."""
    return [mark for mark in marks if " in " in mark]


def long_label(kind: str) -> str:
    """Return a kind as sentences have it: full KD, ESKD, attention transfer with KD."""
    if kind in ("kd", "eskd"):
        return short_label(kind)
    titles = {term.part: term.title for term in load_terms().values()}
    parts, *marks = kind.split(", ")
    text = " with ".join(titles.get(part, part) for part in parts.split("+"))
    text = f"{text} on standardised logits" if "standardised" in marks else text
    text = f"{text} with unlabelled images" if "unlabelled" in marks else text
    return " ".join([text, *_select_precisions(marks)])

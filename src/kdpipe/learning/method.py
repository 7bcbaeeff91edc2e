"""A method: which terms a student learns from, how they weigh, and when the teacher stops.

In the spec of a run a method is a flat mapping; a term of weight 0 writes nothing into it, so a new
file in `learning/methods` renames no run. KD is the exception: it was the first, and its keys stand
in every spec. (The keys of a study: `keys`.)
"""

from dataclasses import dataclass
from typing import Any

from kdpipe.identity import REVISIONS
from kdpipe.learning.keys import FIRST, MethodKeys, terms
from kdpipe.learning.own.card import TermCard
from kdpipe.learning.term import Term, beside_logits
from kdpipe.wording import shown

OWN = "own_term"  # in a spec: the term of one's own


@dataclass(frozen=True)
class Active:
    """A term at work, as the spec of a run has it. `term` is None of one's own: only a job
    imports it.
    """

    name: str
    part: str
    weight: float
    keys: dict
    needs: str
    term: Term | None


def spec(method: MethodKeys, epochs: int, card: TermCard | None = None) -> dict:
    """The `method` of a run's spec, its stop as a number of epochs; full KD teaches to the end.

    `card` is that of its term of one's own.
    """
    stop = None if method.stop_epoch is None else in_epochs(method.stop_epoch, epochs)
    stopped = stop is not None and stop < epochs
    after = 1.0 if method.ce_weight_after_stop is None else method.ce_weight_after_stop
    made = {
        "loss": FIRST,
        "revision": terms()[FIRST].revision,
        "ce_weight": method.ce_weight,
        "kd_epochs": stop if stopped else epochs,
        "ce_weight_after_stop": after if stopped else None,
    }
    for name, term in terms().items():
        if name == FIRST or getattr(method, f"{name}_weight"):
            made |= {key: getattr(method, key) for key in term.keys.model_fields}
            made |= {} if name == FIRST else {f"{name}_revision": term.revision}
            if term.warmup is not None:
                made[term.warmup] = in_epochs(made[term.warmup], epochs)
    if method.standardise:
        made |= {"standardise": True, "standardise_revision": REVISIONS["standardise"]}
    if method.unlabelled:  # which images these are says `specs.made.unlabelled_spec`
        made["unlabelled"] = method.unlabelled
    if card is not None:
        made[OWN] = card.spec(method.term_weight, method.term_keys)
    return made


def in_epochs(asked: float, epochs: int) -> int:
    """A whole number of epochs; a share of them is one epoch at least."""
    return max(1, round(asked * epochs)) if 0 < asked < 1 else round(asked)


def active(made: dict) -> list[Active]:
    """The terms of a spec's `method` in the order of the sum: KD, at weight 0 too, and the rest."""
    found = []
    for name, term in terms().items():
        if weight := made.get(f"{name}_weight", 0.0) or name == FIRST:
            keys = {key: made[key] for key in term.keys.model_fields}
            weight = made[f"{name}_weight"]
            found.append(Active(name, term.part, weight, keys, term.needs, term))
    if own := made.get(OWN):
        found.append(
            Active(own["term"], own["part"], own["weight"], dict(own["keys"]), own["needs"], None)
        )
    return found


def needs(made: dict) -> frozenset[str]:
    """What the terms at work look at beside logits: groups, embedding."""
    return frozenset().union(*(beside_logits(one.needs) for one in active(made) if one.weight))


def outputs(made: dict, wish: str) -> str:
    """How a student gets its teacher's outputs: live, or a table in float16 or float32.

    A table has logits alone in it.
    """
    if wish == "live" or needs(made):
        return "live"
    at_work = [one for one in active(made) if one.weight]
    precise = any(one.term is None or one.term.precise(one.keys) for one in at_work)
    return "float32" if precise else "float16"


def check_revisions(made: dict) -> None:
    """Raise KeyError unless every term at work in a spec states its revision."""
    names = [one.name for one in active(made) if one.term is not None]
    keys = ["revision" if name == FIRST else f"{name}_revision" for name in names]
    keys += ["standardise_revision"] if made.get("standardise") else []
    if missing := [key for key in keys if made.get(key) is None]:
        raise KeyError(*missing)


def columns(made: dict) -> dict[str, Any]:
    """What a report says of a method: the weight of CE, and its terms.

    The keys of the first terms are a column each, at their first value where they are not at work;
    of the others one column, `terms`, says all, where there are any.
    """
    found: dict[str, Any] = {}
    for name, term in terms().items():
        if term.in_every_report:
            neutral = {key: field.default for key, field in term.keys.model_fields.items()}
            found |= {key: made.get(key, value) for key, value in neutral.items()}
        if name == FIRST:
            found["ce_weight"] = made["ce_weight"]
    if made.get("unlabelled"):
        found |= {key: made[key] for key in ("unlabelled", "unlabelled_images")}
    others = [one for one in active(made) if not (one.term and one.term.in_every_report)]
    said = [*map(_in_short, others), *(["standardised logits"] if made.get("standardise") else [])]
    return found | ({"terms": " + ".join(said)} if said else {})


def _in_short(one: Active) -> str:
    """`2 mine (alpha 1)`: weight, what it is called, and its keys."""
    keys = [
        f"{key} {shown(value)}" for key, value in one.keys.items() if key != f"{one.name}_weight"
    ]
    behind = f" ({', '.join(keys)})" if keys else ""
    return f"{one.weight:g} {one.term.short if one.term else one.part}{behind}"


def kind(made: dict, epochs: int) -> str:
    """What a method is: kd, to the end; eskd, KD stopped early; at or at+kd by the parts at work.

    Other than KD alone on the logits as they are has `, standardised`, `, unlabelled` and
    `, stopped` behind its kind, where it is that.
    """
    stopped, standardised = made["kd_epochs"] < epochs, made.get("standardise")
    parts = sorted(one.part for one in active(made) if one.weight)
    more = bool(made.get("unlabelled"))
    if parts == [FIRST] and not standardised and not more:
        return "eskd" if stopped else FIRST
    marks = [", standardised"] * bool(standardised) + [", unlabelled"] * more
    marks += [", stopped"] * stopped
    return "+".join(parts) + "".join(marks)


def is_kd(kind: object) -> bool:
    """Whether a kind is KD alone as the paper has it, to the end or stopped early; so is what has
    no kind.
    """
    return kind in ("kd", "eskd", "", None)


def heading(kind: str) -> str:
    """A kind as a table says it: full KD, ESKD, AT + KD, AT stopped early, standardised DKD."""
    if kind in ("kd", "eskd"):
        return "full KD" if kind == "kd" else "ESKD"
    parts, *marks = kind.split(", ")
    shorts = {term.part: term.short for term in terms().values()}
    text = " + ".join(shorts.get(part, part) for part in parts.split("+"))
    text = f"standardised {text}" if "standardised" in marks else text
    text += " with unlabelled images" if "unlabelled" in marks else ""
    return f"{text} stopped early" if "stopped" in marks else text


def in_words(kind: str) -> str:
    """A kind as a sentence says it: full KD, ESKD, attention transfer with KD."""
    if kind in ("kd", "eskd"):
        return heading(kind)
    titles = {term.part: term.title for term in terms().values()}
    parts, *marks = kind.split(", ")
    text = " with ".join(titles.get(part, part) for part in parts.split("+"))
    text = f"{text} on standardised logits" if "standardised" in marks else text
    return f"{text} with unlabelled images" if "unlabelled" in marks else text

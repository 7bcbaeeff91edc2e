"""A method: which terms a student learns from, how they weigh, and when the teacher stops.

The keys of a method are those here and those of every file in `learning/methods`. In the spec of
a run a method is a flat mapping; a term of weight 0 writes nothing into it, so a new file renames
no run. KD is the exception: it was the first, and its keys stand in every spec.
"""

import functools
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)

from kdpipe import discovery
from kdpipe.identity import REVISIONS
from kdpipe.learning.own.card import TermCard
from kdpipe.learning.term import Term, beside_logits
from kdpipe.section import DOTTED, Section
from kdpipe.wording import shown

PACKAGE = "kdpipe.learning.methods"
FIRST = "kd"
OWN = "own_term"  # in a spec: the term of one's own
Dotted = Annotated[str, Field(max_length=200, json_schema_extra={"pattern": DOTTED})]
BESIDE_ANOTHER = {"ce_weight": 1.0, "kd_weight": 0.0}  # where they are not given


@functools.cache
def terms() -> dict[str, Term]:
    """Every term by the name of its file: KD first, the others by name.

    The order is that of the sum, and the order of a float sum is part of the bytes.
    """
    found = discovery.every(PACKAGE, "TERM", Term)
    return {FIRST: found[FIRST]} | found


def _names_another(keys: dict) -> bool:
    """Whether a method names a term other than KD; its keys need not be sound."""
    weights = [keys.get(f"{name}_weight") for name in terms() if name != FIRST]
    given = any(isinstance(weight, int | float) and weight > 0 for weight in weights)
    return given or keys.get("term") is not None


class MethodKeys(Section):
    """loss = ce_weight * CE + the weighted terms; those of weight 0 are not there."""

    ce_weight: float = Field(
        0.1,
        ge=0,
        le=1000,
        description="the weight of CE with the labels; beside another term than KD 1 if not given",
    )
    stop_epoch: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="ESKD: what the teacher adds to the loss ends after this epoch, or share of "
        "epochs; null: it stays",
        examples=[0.3],
    )
    ce_weight_after_stop: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None, description="the weight of CE after the stop; null: 1.0", examples=[1.0]
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="of the CE term, instead of the recipe's", examples=[0.1]
    )
    standardise: bool = Field(
        False,
        description="LSKD: terms on logits see each image's logits less their mean, divided by "
        "their standard deviation, of student and teacher; CE sees them as they are",
        examples=[True],
    )
    term: Dotted | None = Field(
        None,
        description="a term of one's own, as module.NAME; the module is found in the folder "
        "`code`, or installed",
        examples=["my_terms.TERM"],
    )
    term_weight: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        1.0, description="the weight of the term of one's own"
    )
    term_keys: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="the keys of that term", examples=[{"power": 2}]
    )

    @model_validator(mode="before")
    @classmethod
    def _kd_only_if_asked(cls, given: Any) -> Any:
        """A method that names another term has KD beside it only if it says so, and CE at 1."""
        if isinstance(given, dict) and _names_another(given):
            return BESIDE_ANOTHER | given
        return given

    @model_serializer(mode="wrap")
    def _said_whole(self, plain: SerializerFunctionWrapHandler) -> dict:
        """What is left out as a default is that of a method of KD alone: it must be read again."""
        said = plain(self)
        if _names_another(vars(self)):
            said |= {key: getattr(self, key) for key in BESIDE_ANOTHER}
        return said

    @field_validator("term")
    @classmethod
    def _dotted(cls, term: str | None) -> str | None:
        if term is not None and not re.fullmatch(DOTTED, term):
            raise ValueError(f"{term[:60]!r}: write module.NAME, e.g. my_terms.TERM")
        return term

    @model_validator(mode="after")
    def _teaches(self):
        weights = {f"{name}_weight": term for name, term in terms().items()}
        at_work = [term for weight, term in weights.items() if getattr(self, weight)]
        if self.term is None and not at_work:
            raise ValueError(
                f"every weight of a term is 0: the teacher would teach nothing (the weights are "
                f"{', '.join(weights)})"
            )
        on_logits = any(term.needs == "logits" for term in at_work)
        if self.standardise and self.term is None and not on_logits:
            raise ValueError("standardise: no term of this method looks at logits")
        if self.stop_epoch is None and self.ce_weight_after_stop is not None:
            raise ValueError("ce_weight_after_stop needs a stop_epoch")
        own = {"term_weight", "term_keys"} & self.model_fields_set
        if self.term is None and own:
            raise ValueError(f"{' and '.join(sorted(own))}: of a term of one's own; name it (term)")
        return self


# The last of the bases gives the first fields.
Method = create_model(
    "Method",
    __doc__=MethodKeys.__doc__,
    __base__=(MethodKeys, *(term.keys for term in reversed(terms().values()))),
)


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

    Other than KD alone on the logits as they are has `, standardised` and `, stopped` behind its
    kind, where it is that.
    """
    stopped, standardised = made["kd_epochs"] < epochs, made.get("standardise")
    parts = sorted(one.part for one in active(made) if one.weight)
    if parts == [FIRST] and not standardised:
        return "eskd" if stopped else FIRST
    marks = [", standardised"] * bool(standardised) + [", stopped"] * stopped
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
    return f"{text} stopped early" if "stopped" in marks else text


def in_words(kind: str) -> str:
    """A kind as a sentence says it: full KD, ESKD, attention transfer with KD."""
    if kind in ("kd", "eskd"):
        return heading(kind)
    titles = {term.part: term.title for term in terms().values()}
    parts, *marks = kind.split(", ")
    text = " with ".join(titles.get(part, part) for part in parts.split("+"))
    return f"{text} on standardised logits" if "standardised" in marks else text

"""The keys of a method: those here, and those of every file in `learning/methods`.

What a method means, and what of it stands in the spec of a run, says `method`.
"""

import functools
import re
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
from kdpipe.learning.term import Term
from kdpipe.section import DOTTED, Section

PACKAGE = "kdpipe.learning.methods"
FIRST = "kd"
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
    unlabelled: Annotated[int, Field(ge=0, le=65_536)] = Field(
        0,
        description="how many images of data.unlabelled a batch has beside the labelled ones while "
        "the teacher teaches: its terms see both, CE those with labels alone; BatchNorm sees the "
        "joined batch; mixup and CutMix leave these as they are; the steps stay as many",
        examples=[64],
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

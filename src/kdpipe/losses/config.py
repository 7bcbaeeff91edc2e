"""The keys of a method: those of every method, and those of every file in `losses`.

`method` turns them into the spec of a run.
"""

import functools
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)

from kdpipe import registry
from kdpipe.json_types import is_object
from kdpipe.losses.base import LossTerm
from kdpipe.pydantic_base import DOTTED_PATTERN, StrictModel

LOSSES_PACKAGE = "kdpipe.losses"
KD_TERM = "kd"
# As a network's `named_modules` has it.
ModulePath = Annotated[str, Field(min_length=1, max_length=200)]
DottedPath = Annotated[str, Field(max_length=200, json_schema_extra={"pattern": DOTTED_PATTERN})]
DEFAULTS_WITH_OTHER_TERM = {"ce_weight": 1.0, "kd_weight": 0.0}  # where they are not given


@functools.cache
def load_terms() -> dict[str, LossTerm]:
    """Return every term by the name of its file: KD first, the others by name.

    The order is that of the sum, and the order of a float sum is part of the bytes.
    """
    by_name = registry.load_all_objects(LOSSES_PACKAGE, "TERM", LossTerm)
    return {KD_TERM: by_name[KD_TERM]} | by_name


def _has_other_term(keys: dict[str, Any]) -> bool:
    """Return whether a method names a term other than KD; its keys need not be valid."""
    weights = [keys.get(f"{name}_weight") for name in load_terms() if name != KD_TERM]
    is_weighted = any(isinstance(weight, int | float) and weight > 0 for weight in weights)
    return is_weighted or keys.get("term") is not None


class MethodConfig(StrictModel):
    """loss = ce_weight * CE + the weighted terms; those of weight 0 are not there."""

    ce_weight: float = Field(
        0.1,
        ge=0,
        le=1000,
        description="the weight of CE with the labels; default with other terms than KD: 1",
    )
    stop_epoch: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="ESKD: distillation terms are dropped after this epoch, or fraction of epochs; "
        "null: never",
        examples=[0.3],
    )
    ce_weight_after_stop: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None, description="the weight of CE after the stop; null: 1.0", examples=[1.0]
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="label smoothing of the CE term, instead of the recipe's", examples=[0.1]
    )
    autocast: Literal["bfloat16"] | None = Field(
        None,
        description="bfloat16: train the students of this method in mixed precision; null: as the "
        "recipe says",
        examples=["bfloat16"],
    )
    teacher_precision: Literal["float32", "bfloat16"] | None = Field(
        None,
        description="how the teacher of this method computes its outputs; null: as the study says",
        examples=["bfloat16"],
    )
    standardise: bool = Field(
        False,
        description="LSKD: terms on logits use z-scores of each image's logits, for student and "
        "teacher; CE uses the original logits",
        examples=[True],
    )
    unlabelled: Annotated[int, Field(ge=0, le=65_536)] = Field(
        0,
        description="number of images of data.unlabelled per batch, in addition to the labelled "
        "ones, while distillation terms are active: these use both, CE only labelled images; "
        "BatchNorm gets the joint batch; mixup and CutMix are not applied to them; the number of "
        "steps does not change",
        examples=[64],
    )
    student_modules: Annotated[list[ModulePath], Field(min_length=1)] | None = Field(
        None,
        description="the student's modules whose outputs are compared by terms on groups, as paths "
        "in the network (torch's `named_modules`); null: its groups",
        examples=[["layer2", "layer3"]],
    )
    teacher_modules: Annotated[list[ModulePath], Field(min_length=1)] | None = Field(
        None,
        description="the teacher's modules, one per module of the student; null: its groups",
        examples=[["layer2", "layer4"]],
    )
    term: DottedPath | None = Field(
        None,
        description="a custom loss term, as module.NAME; the module is in the folder `code` or "
        "installed",
        examples=["my_terms.TERM"],
    )
    term_weight: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        1.0, description="the weight of the custom term"
    )
    term_keys: dict[str, bool | int | float | str] = Field(
        default_factory=dict[str, bool | int | float | str],
        description="the keys of the custom term",
        examples=[{"power": 2}],
    )

    @model_validator(mode="before")
    @classmethod
    def _default_kd_weight(cls, values: Any) -> Any:
        """Give a method that names another term CE at weight 1, and KD only if it names it too."""
        if is_object(values) and _has_other_term(values):
            return DEFAULTS_WITH_OTHER_TERM | values
        return values

    @model_serializer(mode="wrap")
    def _serialize_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write what `_default_kd_weight` decided, which differs from the fields' defaults."""
        data = serialize(self)
        if _has_other_term(vars(self)):
            data |= {key: getattr(self, key) for key in DEFAULTS_WITH_OTHER_TERM}
        return data

    @model_validator(mode="after")
    def _check_modules(self):
        """Raise ValueError unless both lists of modules are there, and of one length."""
        students, teachers = self.student_modules, self.teacher_modules
        if students is None and teachers is None:
            return self
        if students is None or teachers is None or len(students) != len(teachers):
            raise ValueError(
                "student_modules and teacher_modules must have the same number of paths"
            )
        active = [term for name, term in load_terms().items() if getattr(self, f"{name}_weight")]
        if self.term is None and not any("groups" in term.needs for term in active):
            raise ValueError("student_modules: no term of this method compares module outputs")
        return self

    @field_validator("term")
    @classmethod
    def _check_dotted_path(cls, term: str | None) -> str | None:
        """Raise ValueError for a term that is no dotted path."""
        if term is not None and not re.fullmatch(DOTTED_PATTERN, term):
            raise ValueError(f"{term[:60]!r}: write module.NAME, e.g. my_terms.TERM")
        return term

    @model_validator(mode="after")
    def _check_terms(self):
        """Raise ValueError for keys without the terms that they are of."""
        weights = {f"{name}_weight": term for name, term in load_terms().items()}
        active = [term for weight, term in weights.items() if getattr(self, weight)]
        if self.term is None and not active:
            raise ValueError(
                "all distillation weights are 0: the teacher would have no effect (the weights are "
                f"{', '.join(weights)})"
            )
        uses_logits = any(term.needs == "logits" for term in active)
        if self.standardise and self.term is None and not uses_logits:
            raise ValueError("standardise: no term of this method uses logits")
        if self.stop_epoch is None and self.ce_weight_after_stop is not None:
            raise ValueError("ce_weight_after_stop requires stop_epoch")
        custom_keys = {"term_weight", "term_keys"} & self.model_fields_set
        if self.term is None and custom_keys:
            raise ValueError(
                f"{' and '.join(sorted(custom_keys))}: only for a custom term: set term"
            )
        return self


if TYPE_CHECKING:  # the bases are discovered: the keys of terms are read by name
    Method = MethodConfig
else:
    # The last of the bases gives the first fields.
    Method = create_model(
        "Method",
        __doc__=MethodConfig.__doc__,
        __base__=(MethodConfig, *(term.keys for term in reversed(load_terms().values()))),
    )

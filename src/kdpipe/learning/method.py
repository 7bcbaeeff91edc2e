"""TODO learning.method, from study."""

from typing import Annotated

from pydantic import Field, model_validator

from kdpipe.section import Section


class Method(Section):
    """loss = ce_weight * CE + kd_weight * T^2 * KL(teacher || student) + attention_weight * AT."""

    temperature: float = Field(
        4.0, gt=0, le=1000, description="both networks' logits are divided by it in the KD term"
    )
    ce_weight: float = Field(0.1, ge=0, le=1000, description="the weight of CE with the labels")
    kd_weight: float = Field(0.9, ge=0, le=1000, description="the weight of KL to the teacher")
    attention_weight: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="the weight of attention transfer; good for one image size only",
    )
    stop_epoch: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="ESKD: what the teacher adds to the loss ends after this epoch, or share of "
        "epochs; null: it stays",
    )
    ce_weight_after_stop: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None, description="the weight of CE after the stop (default 1.0)"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="of the CE term, instead of the recipe's"
    )

    @model_validator(mode="after")
    def _teaches(self):
        if self.kd_weight == self.attention_weight == 0:
            raise ValueError(
                "kd_weight and attention_weight are 0: the teacher would teach nothing"
            )
        if self.stop_epoch is None and self.ce_weight_after_stop is not None:
            raise ValueError("ce_weight_after_stop needs a stop_epoch")
        return self

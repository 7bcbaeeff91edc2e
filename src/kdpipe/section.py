"""The strict model that every section of a study is made of, and the kinds of its values.

Nothing is converted: a text is no number, and a whole number does for a fraction and for nothing
else. Nothing is ignored: an unknown key is a mistake. The descriptions go into the JSON schema.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=40,
        description="a name: letters, digits, - and _, at most 40",
    ),
]
Network = Annotated[str, Field(max_length=80, description="a network by name, e.g. wrn16-2")]
Stop = Annotated[
    str,
    Field(
        pattern=r"^(full|(checkpoint|every) [0-9]{1,6}|schedule [0-9]{1,6}(/[0-9]{1,6})?)$",
        description="full | checkpoint E | every K | schedule N | schedule A/N",
    ),
]
# A thing in a module, as module.thing.
DOTTED = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$"
SHA256 = r"^[0-9a-f]{64}$"
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
SplitNumber = Annotated[int, Field(ge=0, lt=2**20)]
Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=1)]


def _rising(ends: list[float]) -> list[float]:
    low, high = ends
    if low > high:
        raise ValueError(f"must rise, got [{low:g}, {high:g}]")
    return ends


# From .. to, of shares of an area, and of one side by the other.
Spreads = Annotated[list[Spread], Field(min_length=2, max_length=2), AfterValidator(_rising)]
Ratios = Annotated[
    list[Annotated[float, Field(ge=0.1, le=10)]],
    Field(min_length=2, max_length=2),
    AfterValidator(_rising),
]


class Section(BaseModel):
    """The keys of one mapping in a study file; frozen, since names of runs rest on them."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

"""The strict base model of the sections of a study, and the types of their values.

Nothing is converted: a string is not a number, and an integer is accepted as a float but never the
reverse. Nothing is ignored: an unknown key is an error. The descriptions go into the JSON schema.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=40,
        description="a name: letters, digits, - and _, at most 40",
    ),
]
NetworkName = Annotated[str, Field(max_length=80, description="a network by name, e.g. wrn16-2")]
StopText = Annotated[
    str,
    Field(
        pattern=r"^(full|(checkpoint|every) [0-9]{1,6}"
        r"|checkpoint ([0-9]{1,3}/[0-9]{1,3}|[0-9]{1,3}(\.[0-9]{1,3})?x)"
        r"|schedule ([0-9]{1,6}/)?([0-9]{1,6}|[0-9]{1,3}(\.[0-9]{1,3})?x))$",
        description="full | checkpoint E | every K | schedule N | schedule A/N; E is a number of "
        "epochs, or a share of the teacher's as in checkpoint 1/3 or 0.5x; N is a number of "
        "epochs, or a multiple of the teacher's as in schedule 4x",
    ),
]
MULTIPLE_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,3})?x$"
MultipleText = Annotated[
    str, Field(pattern=MULTIPLE_PATTERN, description="a multiple of the recipe's epochs, e.g. 2x")
]
# An object in a module, as module.name.
DOTTED_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
PositiveCount = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
SplitNumber = Annotated[int, Field(ge=0, lt=2**20)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


def _check_rising(bounds: list[float]) -> list[float]:
    """Check that a range is in ascending order."""
    low, high = bounds
    if low > high:
        raise ValueError(f"must be in ascending order, got [{low:g}, {high:g}]")
    return bounds


def _refuse_boolean(value: object) -> object:
    """Check that a value is no boolean: `true` equals 1."""
    if isinstance(value, bool):
        raise ValueError("expected 1 or 3")
    return value


ChannelCount = Annotated[Literal[1, 3], BeforeValidator(_refuse_boolean)]
# Ranges [low, high]: of area fractions, and of aspect ratios.
ShareRange = Annotated[
    list[PositiveShare], Field(min_length=2, max_length=2), AfterValidator(_check_rising)
]
RatioRange = Annotated[
    list[Annotated[float, Field(ge=0.1, le=10)]],
    Field(min_length=2, max_length=2),
    AfterValidator(_check_rising),
]


class StrictModel(BaseModel):
    """The keys of one mapping in a study file; frozen, since run names depend on them."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False
    )

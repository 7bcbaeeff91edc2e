"""What a study asks for: blocks, the ensembles they lean on, probes of transfer, a search.

A block is a grid of teachers, stops, students and methods; `grammar` has the study around it.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdpipe.data.keys import AUGMENTED, Data
from kdpipe.networks.keys import Start
from kdpipe.section import Name, Network, Positive, Section, Seed, Stop


class Ensemble(Section):
    """Runs of one seed whose predicted probabilities are averaged.

    Either `networks` x `stops` x `copies` of runs trained on labels, or the generations of a
    `block`. `operations_of` chooses as many copies as cost what another ensemble costs.
    """

    networks: list[Network] | None = Field(
        None,
        min_length=1,
        description="networks trained on labels, or pretrained ones, to be averaged",
        examples=[["wrn10-0.5"]],
    )
    stops: list[Stop] = Field(
        default_factory=lambda: ["full"],
        min_length=1,
        description="where each of them stops, each a member of its own",
        examples=[["checkpoint 24", "full"]],
    )
    copies: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="members 0 .. copies-1 of each network; member 0 is the scratch run",
        examples=[3],
    )
    operations_of: Name | None = Field(
        None,
        description="an ensemble: take as many copies as its inference operations pay for",
        examples=["medium"],
    )
    block: Name | None = Field(
        None, description="a block: average its generations", examples=["again"]
    )
    average_at: Literal["one", "temperature"] = Field(
        "one", description="as a teacher: mean of the probabilities at T = 1, or at the method's T"
    )

    @model_validator(mode="after")
    def _one_kind(self):
        if (self.networks is None) == (self.block is None):
            raise ValueError("give either networks or block")
        if self.block is not None and {"stops", "copies", "operations_of"} & self.model_fields_set:
            raise ValueError("stops, copies and operations_of belong to networks, not to a block")
        if self.copies is not None and self.operations_of is not None:
            raise ValueError("give copies or operations_of, not both")
        return self


class Block(Section):
    """One experiment: teachers x stops x students x methods x seeds."""

    name: Name = Field(
        description="its name, by which tables, claims and other blocks know it", examples=["size"]
    )
    teachers: list[str] = Field(
        min_length=1,
        description="networks, `self` (the student's own scratch run), blocks, ensembles, or "
        "pretrained ones",
        examples=[["wrn10-1", "wrn16-2"]],
    )
    stops: list[Stop] = Field(
        default_factory=lambda: ["full"],
        min_length=1,
        description="where each teacher stops, each a teacher of its own",
        examples=[["full", "checkpoint 13", "schedule 4/14"]],
    )
    students: list[Network] = Field(
        min_length=1,
        description="networks that learn; each also gets a run on labels alone, its scratch",
        examples=[["wrn10-0.5"]],
    )
    methods: list[Name | list[Name]] = Field(
        default_factory=lambda: ["kd"],
        min_length=1,
        description="names of methods; a list gives one method for each step",
        examples=[["kd", ["eskd", "kd"]]],
    )
    via: list[Network] | None = Field(
        None,
        min_length=1,
        description="networks between teacher and student, each a step",
        examples=[["wrn10-1"]],
    )
    generations: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="times the last network is distilled: 1 is an ordinary student", examples=[3]
    )
    seeds: list[Seed] | None = Field(
        None, min_length=1, description="default: the study's", examples=[[0, 1, 2]]
    )
    teacher_seed: Literal["paired"] | Seed = Field(
        "paired", description="`paired`: seed s learns from the teacher of seed s; or one seed"
    )
    scratch_long: bool = Field(
        False,
        description="also train each student on labels for as many operations as KD cost, and as "
        "all that is trained along its path cost (at most ten times its epochs)",
        examples=[True],
    )

    @property
    def steps(self) -> int:
        """How many networks are distilled one after another in each cell."""
        return len(self.via or []) + self.generations


class Transfer(Section):
    """Linear probes: how well the features of finished networks serve another data set."""

    data: Data = Field(
        description="the other images, of the shape that the networks take; `validation` is needed"
    )
    blocks: list[Name] = Field(
        min_length=1,
        description="blocks of which the last networks, their scratch runs and their teachers are "
        "probed",
        examples=[["size"]],
    )

    @model_validator(mode="after")
    def _images_as_they_are(self):
        for key in ("label_noise", *AUGMENTED):
            if key in self.data.model_dump(exclude_defaults=True):
                raise ValueError(f"data.{key}: a probe sees images and labels as they are")
        if self.data.unlabelled is not None:
            raise ValueError("data.unlabelled: a probe learns from images with labels alone")
        return self


class Search(Section):
    """The best cell of some blocks, without training them all.

    Cells are dropped after each seed; see `kdpipe.search.rule`.
    """

    blocks: list[Name] = Field(
        min_length=1,
        description="the blocks whose cells compete, for each student apart: the lowest error on "
        "validation wins",
        examples=[["size"]],
    )
    fresh_seeds: Annotated[int, Field(ge=3, le=1000)] = Field(
        3,
        description="the last seeds of the study, which only the winner and its scratch run get: "
        "what is told of the winner is not what made it win",
    )
    student_epochs: Positive | None = Field(
        None,
        description="the most epochs of students that may be trained for it, shared equally among "
        "its students; null: what its rule asks for",
        examples=[2000],
    )
    hours: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None,
        description="the most hours that its runs may take, each counted apart, teachers and "
        "scratch runs included; shared equally among its students",
        examples=[24],
    )
    multiply_adds: Positive | None = Field(
        None,
        description="students that take more operations for an image do not compete",
        examples=[1000000],
    )
    latency: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None,
        description="students that take more milliseconds for an image do not compete: as a "
        "float32 graph, where the jobs run; wants `export: true`",
        examples=[5],
    )


def named(
    blocks: Iterable[Block], ensembles: Iterable[Ensemble], starts: Iterable[Start]
) -> set[str]:
    """Every name by which these mean a network, or something else that teaches."""
    found = {
        name for block in blocks for name in [*block.teachers, *(block.via or []), *block.students]
    }
    found |= {start.network for start in starts}
    return found.union(*(ensemble.networks or [] for ensemble in ensembles))

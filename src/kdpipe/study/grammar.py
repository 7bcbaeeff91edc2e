"""A study: everything that one config file asks for, checked before any job starts.

The models here are the grammar of `config.yaml`; `workflow/schemas/study.schema.json` is
generated from them. They are strict and frozen. `checking.load` reads a file into a `Study`, or
raises one error that lists every mistake; which runs a study needs is the plan's business.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdpipe.data.keys import AUGMENTED, Data
from kdpipe.learning.keys import Method
from kdpipe.learning.recipe import Recipe
from kdpipe.networks.keys import OwnNetwork, Pretrained
from kdpipe.results.readings import Reading
from kdpipe.section import Name, Network, Positive, Section, Seed, SplitNumber, Stop


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


class Study(Section):
    """The whole file."""

    study: Name = Field(description="its name: reports go to reports/NAME", examples=["digits"])
    seeds: list[Seed] = Field(
        min_length=1,
        description="everything is trained once for each; a seed decides initial weights, order "
        "and views, never which images are held out; fewer than three give no interval",
        examples=[[0, 1, 2, 3, 4]],
    )
    splits: list[SplitNumber] = Field(
        default_factory=lambda: [0],
        min_length=1,
        description="everything is trained once for each; a split draws train subset, validation "
        "and label noise anew, so that a verdict is about the data and not about one split",
        examples=[[0, 1, 2]],
    )
    looks: list[Positive] | None = Field(
        None,
        min_length=1,
        description="numbers of seeds after which the study is looked at, rising to all of them; "
        "they share one error rate; null: once, after all seeds",
        examples=[[3, 5, 8]],
    )
    look: Positive = Field(
        1, description="which of `looks` is due; seeds of later ones wait; renames no run"
    )
    primary: list[str] | None = Field(
        None,
        min_length=1,
        max_length=5,
        description="the claims that are tested first, few, since each costs the others power; "
        "null: C1, C6, C9, C11s, C11c",
        examples=[["C1", "C6"]],
    )
    pilots: list[Name] = Field(
        default_factory=list,
        description="studies by which this one's choices were made; each with seeds of its own",
        examples=[["digits_pilot"]],
    )
    registration: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="what `kdpipe register` has written, seen from this file; null: beside it, as "
        "STUDY.registration.json, if it is there",
        examples=["digits.registration.json"],
    )
    smallest_effect: Annotated[float, Field(gt=0, le=100)] = Field(
        0.2, description="the smallest difference worth having, in points of top-1 error"
    )
    reading: Reading = Field(
        "last",
        description="where every network that the study compares is read: after its last epoch, or "
        "after its best one on validation; renames no run",
    )
    data: Data = Field(description="the images")
    recipe: Recipe = Field(description="how every network is trained")
    networks: dict[Name, OwnNetwork] = Field(
        default_factory=dict, description="networks of one's own, each under a name"
    )
    code: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="the folder of the modules of one's own networks, terms, tables and figures, "
        "and of the cards of the first two, seen from this file; null: its own folder",
        examples=["../models"],
    )
    network_recipes: dict[Network, dict] = Field(
        default_factory=dict,
        description="keys of the recipe that differ for one network",
        examples=[{"wrn16-2": {"lr": 0.05}}],
    )
    keep_checkpoints: dict[Network, list[Stop]] = Field(
        default_factory=dict,
        description="checkpoints to keep although no block asks for them",
        examples=[{"wrn16-2": ["checkpoint 0", "every 10"]}],
    )
    teacher_outputs: Literal["auto", "table", "live"] = Field(
        "auto",
        description="table: computed once for all views and shared; live: beside each student; "
        "auto: a table for students whose epochs are more than half the views",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where runs are trained; auto: on GPUs if there are any; renames no run"
    )
    runs_per_gpu: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="runs that share one GPU of this machine at a time; renames no run"
    )
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        4, description="processes that read images beside a run, where they stream; renames no run"
    )
    methods: dict[Name, Method] = Field(  # pyright: ignore (a model made of the listed terms)
        default_factory=lambda: {"kd": Method.model_validate({})},
        description="ways to distil, each under a name; default: kd, plain",
    )
    ensembles: dict[Name, Ensemble] = Field(
        default_factory=dict, description="runs averaged, each ensemble under a name"
    )
    pretrained: dict[Name, Pretrained] = Field(
        default_factory=dict, description="teachers that bring their weights, under a name"
    )
    experiments: list[Block] = Field(
        min_length=1, description="the blocks; the plan is their union"
    )
    transfers: dict[Name, Transfer] = Field(
        default_factory=dict, description="linear probes on other data, each under a name"
    )
    export: bool = Field(
        False,
        description="measure every student, its scratch run and its teachers as files that ship: "
        "error, bytes and time for an image in float32 and int8; wants kdpipe[export]; renames no "
        "run",
    )
    tables: dict[str, list[Name]] = Field(
        default_factory=dict,
        description="for each table the blocks and ensembles it reads; one's own are named as "
        "module.TABLE",
        examples=[{"teacher_size": ["size"]}, {"my_tables.TABLE": ["size"]}],
    )
    figures: dict[str, list[Name]] = Field(
        default_factory=dict,
        description="figures of one's own, each as module.FIGURE, and the blocks and ensembles it "
        "reads; kdpipe's are drawn unasked; renames no run",
        examples=[{"my_figures.FIGURE": ["size"]}],
    )
    claims: dict[str, list[Name]] = Field(
        default_factory=dict,
        description="for a claim the blocks and ensembles it reads; without an entry it reads all",
        examples=[{"C1": ["size"]}],
    )

    @property
    def named(self) -> set[str]:
        """The names under which networks see its images."""
        return named(self.experiments, self.ensembles.values())

    @property
    def due_seeds(self) -> list[int]:
        """The seeds up to the look that is due; all of them without looks."""
        return self.seeds[: self.looks[self.look - 1]] if self.looks else self.seeds

    def recipe_of(self, network: str) -> Recipe:
        """The recipe with which every run of this network is trained."""
        changes = self.network_recipes.get(network)
        if changes is None:
            return self.recipe
        return Recipe.model_validate({**self.recipe.model_dump(), **changes})


def named(blocks: Iterable[Block], ensembles: Iterable[Ensemble]) -> set[str]:
    """Every name by which blocks and ensembles mean a network, or something else that teaches."""
    found = {
        name for block in blocks for name in [*block.teachers, *(block.via or []), *block.students]
    }
    return found.union(*(ensemble.networks or [] for ensemble in ensembles))

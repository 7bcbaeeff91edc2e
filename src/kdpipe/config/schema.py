"""The schema of a study file: experiments, ensembles, probes of transfer, a search, and `Study`.

The models are strict and frozen; `workflow/schemas/study.schema.json` is generated from them.
`load.load_study` reads a file into a `Study`, or raises one error that lists every mistake; which
runs a study needs is for the planner to say.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kdpipe.data.config import AUGMENTATION_KEYS, DataConfig
from kdpipe.losses.config import Method
from kdpipe.models.config import CustomModelConfig, InitFrom, PretrainedTeacher
from kdpipe.pydantic_base import (
    Name,
    NetworkName,
    PositiveCount,
    Seed,
    SplitNumber,
    StopText,
    StrictModel,
)
from kdpipe.runs.recipe import Recipe
from kdpipe.runs.records import EvalPoint

# Another spelling that a study may have, and the key that stands in its canonical form.
RECIPE_ALIASES = {"optimizer": "optimiser"}


class EnsembleConfig(StrictModel):
    """An ensemble: runs of one seed whose predicted probabilities are averaged.

    Either `networks` x `stops` x `copies` of runs trained on labels, or the generations of a
    `block`. With `operations_of`, as many copies as cost what another ensemble costs.
    """

    networks: list[NetworkName] | None = Field(
        None,
        min_length=1,
        description="networks trained on labels, or pretrained ones, to be averaged",
        examples=[["wrn10-0.5"]],
    )
    stops: list[StopText] = Field(
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
    def _check_one_kind(self):
        """Check that networks or a block are given, and only the keys that belong to them."""
        if (self.networks is None) == (self.block is None):
            raise ValueError("give either networks or block")
        if self.block is not None and {"stops", "copies", "operations_of"} & self.model_fields_set:
            raise ValueError("stops, copies and operations_of belong to networks, not to a block")
        if self.copies is not None and self.operations_of is not None:
            raise ValueError("give copies or operations_of, not both")
        return self


class BlockConfig(StrictModel):
    """An experiment: teachers x stops x students x methods x seeds."""

    name: Name = Field(
        description="its name, by which tables, claims and other blocks know it", examples=["size"]
    )
    teachers: list[str] = Field(
        min_length=1,
        description="networks, `self` (the student's own scratch run), blocks, ensembles, or "
        "pretrained ones",
        examples=[["wrn10-1", "wrn16-2"]],
    )
    stops: list[StopText] = Field(
        default_factory=lambda: ["full"],
        min_length=1,
        description="where each teacher stops, each a teacher of its own",
        examples=[["full", "checkpoint 13", "schedule 4/14"]],
    )
    students: list[NetworkName] = Field(
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
    via: list[NetworkName] | None = Field(
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
        """Return how many networks are distilled one after another in each cell."""
        return len(self.via or []) + self.generations


class TransferConfig(StrictModel):
    """Linear probes: how well the features of trained networks serve another data set."""

    data: DataConfig = Field(
        description="the other images, of the shape that the networks take; `validation` is needed"
    )
    blocks: list[Name] = Field(
        min_length=1,
        description="blocks of which the last networks, their scratch runs and their teachers are "
        "probed",
        examples=[["size"]],
    )

    @model_validator(mode="after")
    def _check_unchanged_images(self):
        """Check that the probe's images and labels are left as they are."""
        for key in ("label_noise", *AUGMENTATION_KEYS):
            if key in self.data.model_dump(exclude_defaults=True):
                raise ValueError(f"data.{key}: a probe sees images and labels as they are")
        if self.data.unlabelled is not None:
            raise ValueError("data.unlabelled: a probe learns from images with labels alone")
        return self


class SearchConfig(StrictModel):
    """A search for the best cell of some blocks, without training them all.

    Cells are dropped after each seed; see `kdpipe.analysis.search.elimination_rule`.
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
    student_epochs: PositiveCount | None = Field(
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
    multiply_adds: PositiveCount | None = Field(
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


def collect_network_names(
    blocks: Iterable[BlockConfig], ensembles: Iterable[EnsembleConfig], starts: Iterable[InitFrom]
) -> set[str]:
    """Collect the names of networks, and of all else that teaches.

    Parameters
    ----------
    blocks : iterable of BlockConfig
    ensembles : iterable of EnsembleConfig
    starts : iterable of InitFrom

    Returns
    -------
    set of str
        Names of networks; those of teachers may also be blocks, ensembles or pretrained ones.
    """
    names = {
        name for block in blocks for name in [*block.teachers, *(block.via or []), *block.students]
    }
    names |= {start.network for start in starts}
    return names.union(*(ensemble.networks or [] for ensemble in ensembles))


class Study(StrictModel):
    """A whole study file."""

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
    looks: list[PositiveCount] | None = Field(
        None,
        min_length=1,
        description="numbers of seeds after which the study is looked at, rising to all of them; "
        "they share one error rate; null: once, after all seeds",
        examples=[[3, 5, 8]],
    )
    look: PositiveCount = Field(
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
        default_factory=list[Name],
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
    reading: EvalPoint = Field(
        "last",
        description="where every network that the study compares is read: after its last epoch, or "
        "after its best one on validation; renames no run",
    )
    data: DataConfig = Field(description="the images")
    recipe: Recipe = Field(description="how every network is trained")
    networks: dict[Name, CustomModelConfig] = Field(
        default_factory=dict[Name, CustomModelConfig],
        description="custom networks, each under a name",
    )
    starts: dict[Name, InitFrom] = Field(
        default_factory=dict[Name, InitFrom],
        description="networks that begin from weights, each under a name that means it wherever "
        "a network is named; its scratch run begins from them too",
    )
    code: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="the folder of the modules of custom networks, terms, tables and figures, "
        "and of the cards of the first two, seen from this file; null: its own folder",
        examples=["../models"],
    )
    network_recipes: dict[NetworkName, dict[str, Any]] = Field(
        default_factory=dict[NetworkName, dict[str, Any]],
        description="keys of the recipe that differ for one network",
        examples=[{"wrn16-2": {"lr": 0.05}}],
    )
    keep_checkpoints: dict[NetworkName, list[StopText]] = Field(
        default_factory=dict[NetworkName, list[StopText]],
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
    kernels: Literal["deterministic", "any"] = Field(
        "deterministic",
        description="what is asked of a GPU; any: where an operation has no deterministic kernel, "
        "a repeated run is then not equal to the byte, as its record says; renames no run",
    )
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        4, description="processes that read images beside a run, where they stream; renames no run"
    )
    methods: dict[Name, Method] = Field(
        default_factory=lambda: {"kd": Method.model_validate({})},
        description="ways to distil, each under a name; default: kd, plain",
    )
    ensembles: dict[Name, EnsembleConfig] = Field(
        default_factory=dict[Name, EnsembleConfig],
        description="runs averaged, each ensemble under a name",
    )
    pretrained: dict[Name, PretrainedTeacher] = Field(
        default_factory=dict[Name, PretrainedTeacher],
        description="teachers that bring their weights, under a name",
    )
    experiments: list[BlockConfig] = Field(
        min_length=1, description="the blocks; the plan is their union"
    )
    search: SearchConfig | None = Field(
        None,
        description="look for the best cell of some blocks instead of training them all; renames "
        "no run",
    )
    transfers: dict[Name, TransferConfig] = Field(
        default_factory=dict[Name, TransferConfig],
        description="linear probes on other data, each under a name",
    )
    export: bool = Field(
        False,
        description="measure every student, its scratch run and its teachers as files that ship: "
        "error, bytes and time for an image in float32 and int8; wants kdpipe[export]; renames no "
        "run",
    )
    tables: dict[str, list[Name]] = Field(
        default_factory=dict[str, list[Name]],
        description="for each table the blocks and ensembles it reads; custom ones are named as "
        "module.TABLE",
        examples=[{"teacher_size": ["size"]}, {"my_tables.TABLE": ["size"]}],
    )
    figures: dict[str, list[Name]] = Field(
        default_factory=dict[str, list[Name]],
        description="custom figures, each as module.FIGURE, and the blocks and ensembles it reads; "
        "those of kdpipe are always drawn; renames no run",
        examples=[{"my_figures.FIGURE": ["size"]}],
    )
    claims: dict[str, list[Name]] = Field(
        default_factory=dict[str, list[Name]],
        description="for a claim the blocks and ensembles it reads; without an entry it reads all",
        examples=[{"C1": ["size"]}],
    )

    @property
    def network_names(self) -> set[str]:
        """Return the names of all networks and other teachers."""
        return collect_network_names(
            self.experiments, self.ensembles.values(), self.starts.values()
        )

    @property
    def due_seeds(self) -> list[int]:
        """Return the seeds up to the interim analysis that is due; all of them without `looks`."""
        return self.seeds[: self.looks[self.look - 1]] if self.looks else self.seeds

    def is_search_cell(self, block: str, seed: int) -> bool:
        """Return whether a cell is trained for a search alone, so that it is biased by selection.

        Parameters
        ----------
        block : str
            The name of an experiment.
        seed : int
        """
        return self.search is not None and block in self.search.blocks and seed in self.search_seeds

    @property
    def search_seeds(self) -> list[int]:
        """Return the seeds by which a search chooses; none without a search."""
        return self.due_seeds[: -self.search.fresh_seeds] if self.search else []

    def get_recipe(self, network: str) -> Recipe:
        """Return the recipe with which every run of a network is trained."""
        changes = self.network_recipes.get(network)
        if changes is None:
            return self.recipe
        return Recipe.model_validate({**self.recipe.model_dump(), **changes})


def build_json_schema() -> dict[str, Any]:
    """Build the JSON schema of a study file, for editors.

    Returns
    -------
    dict
        The schema of `Study`, in which a recipe may have the aliases of its keys.
    """
    schema = Study.model_json_schema()
    recipe = schema["$defs"]["Recipe"]
    recipe["properties"] |= {
        alias: recipe["properties"][key] | {"description": f"the same as {key}"}
        for alias, key in RECIPE_ALIASES.items()
    }
    recipe["not"] = {"anyOf": [{"required": list(pair)} for pair in RECIPE_ALIASES.items()]}
    return schema

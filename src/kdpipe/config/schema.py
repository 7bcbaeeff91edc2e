"""The schema of a study file: experiments, ensembles, transfer probes, a search, and `Study`.

The models are strict and frozen; `workflow/schemas/study.schema.json` is generated from them.
`load.load_study` reads a file into a `Study`, or raises one error that lists all errors; the
planner determines the runs of a study.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kdpipe.data.config import AUGMENTATION_KEYS, DataConfig
from kdpipe.losses.config import Method
from kdpipe.models.config import CustomModelConfig, InitFrom, PretrainedTeacher
from kdpipe.pydantic_base import (
    MultipleText,
    Name,
    NetworkName,
    PositiveCount,
    Seed,
    SplitNumber,
    StopText,
    StrictModel,
)
from kdpipe.runs.decision_metric import DecisionMetric
from kdpipe.runs.recipe import MAX_EPOCHS, MAX_SHARDS, Recipe
from kdpipe.runs.records import EvalPoint

# Accepted aliases, and the canonical key of each.
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
        description="where their training stops; each stop is a member",
        examples=[["checkpoint 24", "full"]],
    )
    copies: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="members 0 .. copies-1 of each network; member 0 is the scratch run",
        examples=[3],
    )
    operations_of: Name | None = Field(
        None,
        description="an ensemble: use as many copies as match its inference cost in multiply-adds",
        examples=["medium"],
    )
    block: Name | None = Field(
        None, description="a block: average its generations", examples=["again"]
    )
    average_at: Literal["one", "temperature"] = Field(
        "one", description="as a teacher: average the probabilities at T = 1, or at the method's T"
    )

    @model_validator(mode="after")
    def _check_one_kind(self):
        """Check that networks or a block are given, and only keys that apply to them."""
        if (self.networks is None) == (self.block is None):
            raise ValueError("give either networks or block")
        if self.block is not None and {"stops", "copies", "operations_of"} & self.model_fields_set:
            raise ValueError("stops, copies and operations_of apply to networks, not to a block")
        if self.copies is not None and self.operations_of is not None:
            raise ValueError("give copies or operations_of, not both")
        return self


class BlockConfig(StrictModel):
    """An experiment: teachers x stops x students x methods x seeds, at each length and size."""

    name: Name = Field(
        description="its name, by which tables, claims and other blocks refer to it",
        examples=["size"],
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
        description="where each teacher's training stops; each stop is a separate teacher",
        examples=[["full", "checkpoint 13", "schedule 4/14"]],
    )
    students: list[NetworkName] = Field(
        min_length=1,
        description="networks to train; each also gets a run on labels alone, its scratch run",
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
        description="networks between teacher and student, each a distillation step",
        examples=[["wrn10-1"]],
    )
    generations: Annotated[int, Field(ge=1, le=1000)] = Field(
        1,
        description="how many times the last network is distilled: 1 is an ordinary student",
        examples=[3],
    )
    epochs: list[Annotated[int, Field(ge=1, le=MAX_EPOCHS)] | MultipleText] | None = Field(
        None,
        min_length=1,
        description="lengths of the students' training: numbers of epochs, or multiples of each "
        "student's recipe; drops, warm-ups and stop_epoch follow in proportion. Networks of via, "
        "generations and `self` are trained as long, other teachers and ensembles are not; null: "
        "as long as the recipe says",
        examples=[[30, "2x", "4x"]],
    )
    train_size: list[PositiveCount] | None = Field(
        None,
        min_length=1,
        description="numbers of training images of the students, of those that the study has: "
        "nested subsets, beside the same validation images; null: all of the study's",
        examples=[[600, 2000, 6000]],
    )
    teacher_images: Literal["students", "all"] = Field(
        "students",
        description="where train_size lists sizes, the images of the teachers: those of their "
        "student, or all of the study's",
    )
    seeds: list[Seed] | None = Field(
        None, min_length=1, description="default: the study's", examples=[[0, 1, 2]]
    )
    teacher_seed: Literal["paired"] | Seed = Field(
        "paired",
        description="`paired`: the student of seed s learns from the teacher of seed s; or one "
        "seed for all",
    )
    scratch_long: bool = Field(
        False,
        description="also train each student on labels at the cost of KD, and at the total "
        "training cost of its path, in multiply-adds (at most ten times its epochs)",
        examples=[True],
    )

    @property
    def steps(self) -> int:
        """Return the number of successive distillation steps in each cell."""
        return len(self.via or []) + self.generations

    @property
    def variants(self) -> int:
        """Return how many lengths and sizes of training each cell is made for."""
        return len(self.epochs or [None]) * len(self.train_size or [None])


class TransferConfig(StrictModel):
    """Linear probes: how well the features of trained networks transfer to another data set."""

    data: DataConfig = Field(
        description="the other data set, with images of the networks' input shape; `validation` "
        "is required"
    )
    blocks: list[Name] = Field(
        min_length=1,
        description="blocks whose last networks, scratch runs and teachers are probed",
        examples=[["size"]],
    )

    @model_validator(mode="after")
    def _check_unchanged_images(self):
        """Check that the probe's images and labels are unmodified."""
        for key in ("label_noise", "views", *AUGMENTATION_KEYS):
            if key in self.data.model_dump(exclude_defaults=True):
                raise ValueError(
                    f"data.{key}: not allowed: a probe uses unmodified images and labels"
                )
        if self.data.unlabelled is not None:
            raise ValueError(
                "data.unlabelled: not allowed: a probe is fitted on labelled images only"
            )
        return self


class SearchConfig(StrictModel):
    """A search for the best cell of some blocks, without training them all.

    Cells are dropped after each seed; see `kdpipe.analysis.search.elimination_rule`.
    """

    blocks: list[Name] = Field(
        min_length=1,
        description="the blocks whose cells compete, separately for each student: the lowest "
        "validation error wins",
        examples=[["size"]],
    )
    fresh_seeds: Annotated[int, Field(ge=3, le=1000)] = Field(
        3,
        description="number of seeds, the last of the study, that are run only for the winner and "
        "its scratch run, so that its reported results are free of selection bias",
    )
    student_epochs: PositiveCount | None = Field(
        None,
        description="maximum number of student epochs, shared equally among its students; null: as "
        "many as its rule requires",
        examples=[2000],
    )
    hours: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None,
        description="maximum total hours of its runs, including teachers and scratch runs; shared "
        "equally among its students",
        examples=[24],
    )
    multiply_adds: PositiveCount | None = Field(
        None,
        description="students with more multiply-adds per image are excluded",
        examples=[1000000],
    )
    latency: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None,
        description="students with a higher latency per image, in milliseconds, are excluded: "
        "measured for the float32 graph on the jobs' machine; requires `export: true`",
        examples=[5],
    )
    rule: Literal[2, 3] | None = Field(
        None,
        description="revision of the rule that drops cells, for a search that was begun by an "
        "earlier one (2: two fifths go on after a seed; 3: half); null: the newest",
        examples=[2],
    )


def collect_network_names(
    blocks: Iterable[BlockConfig], ensembles: Iterable[EnsembleConfig], starts: Iterable[InitFrom]
) -> set[str]:
    """Collect the names of networks that see the study's images, and of other teachers.

    A network that starts from weights with an `input` of its own sees other images.

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
    names |= {start.network for start in starts if start.input is None}
    return names.union(*(ensemble.networks or [] for ensemble in ensembles))


class SmallestEffects(StrictModel):
    """The smallest differences worth having, each in the unit of what is compared."""

    kd_error: Annotated[
        float,
        Field(
            gt=0,
            le=100,
            description="of the KD error, in points: how often a student and its teacher disagree",
        ),
    ] = 1.0
    nll: Annotated[float, Field(gt=0, description="of the cross-entropy, in nat")] = 0.01
    kl: Annotated[float, Field(gt=0, description="of the KL to the teacher, in nat")] = 0.01
    entropy: Annotated[
        float, Field(gt=0, description="of the entropy of a teacher's outputs, in nat")
    ] = 0.01
    rank: Annotated[
        float, Field(gt=0, le=2, description="of a rank correlation (Spearman's rho)")
    ] = 0.3


class Study(StrictModel):
    """A whole study file."""

    study: Name = Field(
        description="its name: the report is written to reports/NAME", examples=["digits"]
    )
    seeds: list[Seed] = Field(
        min_length=1,
        description="all networks are trained once per seed; a seed determines initial weights, "
        "data order and views, but not which images are held out; fewer than three give no "
        "confidence interval",
        examples=[[0, 1, 2, 3, 4]],
    )
    splits: list[SplitNumber] = Field(
        default_factory=lambda: [0],
        min_length=1,
        description="all networks are trained once per split; a split resamples train subset, "
        "validation and label noise, so that verdicts do not depend on a single split",
        examples=[[0, 1, 2]],
    )
    looks: list[PositiveCount] | None = Field(
        None,
        min_length=1,
        description="increasing numbers of seeds for interim analyses, up to all seeds; they share "
        "one error rate; null: a single analysis, after all seeds",
        examples=[[3, 5, 8]],
    )
    look: PositiveCount = Field(
        1, description="the current one of `looks`; seeds of later ones are not run; renames no run"
    )
    primary: list[str] | None = Field(
        None,
        min_length=1,
        max_length=5,
        description="the claims that are tested first; keep them few, since each reduces the power "
        "of the others; null: C1, C6, C9, C11s, C11c",
        examples=[["C1", "C6"]],
    )
    pilots: list[Name] = Field(
        default_factory=list[Name],
        description="pilot studies on which this study's choices are based; each must have other "
        "seeds",
        examples=[["digits_pilot"]],
    )
    registration: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="file written by `kdpipe register`, relative to this file; null: "
        "STUDY.registration.json next to it, if it exists",
        examples=["digits.registration.json"],
    )
    smallest_effect: Annotated[float, Field(gt=0, le=100)] = Field(
        0.2, description="the smallest difference of practical interest, in points of error"
    )
    smallest_effects: SmallestEffects = Field(
        SmallestEffects(),
        description="the smallest differences worth having of what is not the error of a network",
    )
    reading: EvalPoint = Field(
        "last",
        description="the epoch at which the compared networks are evaluated: the last, or the best "
        "on validation; renames no run, unless `metric` is another one than top1",
    )
    metric: DecisionMetric = Field(
        "top1",
        description="what decides: best epochs, chosen cells, searches, exports, claims and the "
        "headline; errors are 100 minus it, in points, with top-1 beside it; balanced: the mean of "
        "the accuracies of the classes, macro_f1: that of their F1; renames runs only with "
        "`reading: best`",
        examples=["balanced"],
    )
    data: DataConfig = Field(description="the data set")
    recipe: Recipe = Field(description="the training recipe of all networks")
    networks: dict[Name, CustomModelConfig] = Field(
        default_factory=dict[Name, CustomModelConfig],
        description="custom networks by name",
    )
    starts: dict[Name, InitFrom] = Field(
        default_factory=dict[Name, InitFrom],
        description="networks with initial weights (fine-tuning), by names that can be used for "
        "any network; their scratch runs start from these weights too",
    )
    code: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        None,
        description="folder of the modules of custom networks, terms, tables and figures, and of "
        "the cards of the first two, relative to this file; null: the folder of this file",
        examples=["../models"],
    )
    network_recipes: dict[NetworkName, dict[str, Any]] = Field(
        default_factory=dict[NetworkName, dict[str, Any]],
        description="recipe keys that differ for single networks",
        examples=[{"wrn16-2": {"lr": 0.05}}],
    )
    keep_checkpoints: dict[NetworkName, list[StopText]] = Field(
        default_factory=dict[NetworkName, list[StopText]],
        description="checkpoints to keep although no block needs them",
        examples=[{"wrn16-2": ["checkpoint 0", "every 10"]}],
    )
    teacher_outputs: Literal["auto", "table", "live"] = Field(
        "auto",
        description="table: logits are cached once for all views and shared; live: the teacher "
        "runs along with each student; auto: a table for students whose recipe's epochs exceed "
        "half the number of views",
    )
    teacher_precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="how teachers compute the outputs that students learn from; bfloat16: with "
        "batch norm folded into convolutions, faster where the processor has bfloat16 arithmetic; "
        "the accuracy of a teacher is always that of float32",
        examples=["bfloat16"],
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="device of the runs; auto: GPUs if there are any; renames no run"
    )
    runs_per_gpu: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="runs that share one GPU of this machine at a time; renames no run"
    )
    processes_per_run: Annotated[int, Field(ge=1, le=MAX_SHARDS)] = Field(
        1,
        description="processes that train one network whose recipe has `shards`, each with the "
        "recipe's threads or a GPU of its own; at most one for each part of a batch; renames no "
        "run",
        examples=[2],
    )
    kernels: Literal["deterministic", "any"] = Field(
        "deterministic",
        description="GPU kernels; any: also nondeterministic ones, for operations without a "
        "deterministic kernel; a repeated run is then not bit-identical, as its record states; "
        "renames no run",
    )
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        4, description="worker processes of a run that read streamed images; renames no run"
    )
    methods: dict[Name, Method] = Field(
        default_factory=lambda: {"kd": Method.model_validate({})},
        description="distillation methods by name; default: kd, plain",
    )
    ensembles: dict[Name, EnsembleConfig] = Field(
        default_factory=dict[Name, EnsembleConfig],
        description="ensembles, averages of runs, by name",
    )
    pretrained: dict[Name, PretrainedTeacher] = Field(
        default_factory=dict[Name, PretrainedTeacher],
        description="pretrained teachers by name",
    )
    experiments: list[BlockConfig] = Field(
        min_length=1, description="the experiments (blocks); the plan is their union"
    )
    search: SearchConfig | None = Field(
        None,
        description="search for the best cell of some blocks instead of training all; renames no "
        "run",
    )
    transfers: dict[Name, TransferConfig] = Field(
        default_factory=dict[Name, TransferConfig],
        description="linear probes on other data, by name",
    )
    export: bool = Field(
        False,
        description="measure every student, its scratch run and its teachers as exported graphs: "
        "error, size and latency in float32 and int8; requires kdpipe[export]; renames no run",
    )
    tables: dict[str, list[Name]] = Field(
        default_factory=dict[str, list[Name]],
        description="blocks and ensembles that each table reads; custom tables are named as "
        "module.TABLE",
        examples=[{"teacher_size": ["size"]}, {"my_tables.TABLE": ["size"]}],
    )
    figures: dict[str, list[Name]] = Field(
        default_factory=dict[str, list[Name]],
        description="custom figures, as module.FIGURE, and the blocks and ensembles they read; "
        "those of kdpipe are always drawn; renames no run",
        examples=[{"my_figures.FIGURE": ["size"]}],
    )
    claims: dict[str, list[Name]] = Field(
        default_factory=dict[str, list[Name]],
        description="blocks and ensembles that a claim reads; without an entry it reads all",
        examples=[{"C1": ["size"]}],
    )

    @property
    def network_names(self) -> set[str]:
        """Return the names of all networks and other teachers."""
        return collect_network_names(
            self.experiments, self.ensembles.values(), self.starts.values()
        )

    @property
    def weights_sources(self) -> dict[str, PretrainedTeacher | InitFrom]:
        """Return the networks that bring weights, to teach or to be trained, by their names."""
        return {**self.pretrained, **self.starts}

    @property
    def due_seeds(self) -> list[int]:
        """Return the seeds up to the current interim analysis; all of them without `looks`."""
        return self.seeds[: self.looks[self.look - 1]] if self.looks else self.seeds

    @property
    def max_latency(self) -> float | None:
        """Return the limit of latency of a search in milliseconds; None where there is none."""
        return None if self.search is None else self.search.latency

    @property
    def lists_lengths(self) -> bool:
        """Return whether some experiment lists lengths of its students' training."""
        return any(block.epochs for block in self.experiments)

    @property
    def lists_sizes(self) -> bool:
        """Return whether some experiment lists sizes of its students' training set."""
        return any(block.train_size for block in self.experiments)

    def is_search_cell(self, block: str, seed: int) -> bool:
        """Return whether a cell is trained only for a search, and so subject to selection bias.

        Parameters
        ----------
        block : str
            The name of an experiment.
        seed : int
        """
        return self.search is not None and block in self.search.blocks and seed in self.search_seeds

    @property
    def search_seeds(self) -> list[int]:
        """Return the seeds by which a search selects; none without a search."""
        return self.due_seeds[: -self.search.fresh_seeds] if self.search else []

    def get_recipe(self, network: str) -> Recipe:
        """Return the recipe of all runs of a network."""
        changes = self.network_recipes.get(network)
        if changes is None:
            return self.recipe
        return Recipe.model_validate({**self.recipe.model_dump(), **changes})


def build_json_schema() -> dict[str, Any]:
    """Build the JSON schema of a study file, for editors.

    Returns
    -------
    dict
        The schema of `Study`, in which a recipe may use aliases of its keys.
    """
    schema = Study.model_json_schema()
    recipe = schema["$defs"]["Recipe"]
    recipe["properties"] |= {
        alias: recipe["properties"][key] | {"description": f"the same as {key}"}
        for alias, key in RECIPE_ALIASES.items()
    }
    recipe["not"] = {"anyOf": [{"required": list(pair)} for pair in RECIPE_ALIASES.items()]}
    return schema

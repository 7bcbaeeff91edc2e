"""A study: everything that one config file asks for, checked before any job starts.

The models here are the grammar of `config.yaml`; `workflow/schemas/study.schema.json` is
generated from them. They are strict and frozen. `checking.load` reads a file into a `Study`, or
raises one error that lists every mistake; which runs a study needs is the plan's business.
"""

from typing import Annotated, Literal

from pydantic import Field

from kdpipe.data.keys import Data
from kdpipe.learning.keys import Method
from kdpipe.learning.recipe import Recipe
from kdpipe.networks.keys import OwnNetwork, Pretrained, Start
from kdpipe.results.readings import Reading
from kdpipe.section import Name, Network, Positive, Section, Seed, SplitNumber, Stop
from kdpipe.study.blocks import Block, Ensemble, Search, Transfer, named


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
    starts: dict[Name, Start] = Field(
        default_factory=dict,
        description="networks that begin from weights, each under a name that means it wherever "
        "a network is named; its scratch run begins from them too",
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
    kernels: Literal["deterministic", "any"] = Field(
        "deterministic",
        description="what is asked of a GPU; any: where an operation has no deterministic kernel, "
        "a repeated run is then not equal to the byte, as its record says; renames no run",
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
    search: Search | None = Field(
        None,
        description="look for the best cell of some blocks instead of training them all; renames "
        "no run",
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
        return named(self.experiments, self.ensembles.values(), self.starts.values())

    @property
    def due_seeds(self) -> list[int]:
        """The seeds up to the look that is due; all of them without looks."""
        return self.seeds[: self.looks[self.look - 1]] if self.looks else self.seeds

    def is_tried(self, block: str, seed: int) -> bool:
        """Whether a cell is trained for a search alone: what it tells is what it was chosen by."""
        return self.search is not None and block in self.search.blocks and seed in self.search_seeds

    @property
    def search_seeds(self) -> list[int]:
        """The seeds by which a search chooses; none without one."""
        return self.due_seeds[: -self.search.fresh_seeds] if self.search else []

    def recipe_of(self, network: str) -> Recipe:
        """The recipe with which every run of this network is trained."""
        changes = self.network_recipes.get(network)
        if changes is None:
            return self.recipe
        return Recipe.model_validate({**self.recipe.model_dump(), **changes})

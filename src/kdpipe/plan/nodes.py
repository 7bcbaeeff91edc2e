"""The data classes of a plan: what jobs make, and where a study uses it.

A run, a logit cache, an ensemble, a probe and an export evaluation are nodes: each is made by one
job, has a spec and a name, and waits for its `parents`. Cells and rows say where in the study a
node is used; several may share a run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kdpipe.config.schema import Study
from kdpipe.config.stops import Stop
from kdpipe.data.cards import DatasetCard
from kdpipe.data.config import DataConfig
from kdpipe.data.imagefolder.unlabelled_card import UnlabelledCard
from kdpipe.models.family import Cost
from kdpipe.runs.spec import (
    DataSpec,
    EnsembleSpec,
    ExportEvalSpec,
    LogitCacheSpec,
    ProbeSpec,
    RunSpec,
)


@dataclass(frozen=True, eq=False)
class Run:
    """One network to train.

    Attributes
    ----------
    name, digest : str
        Name of its folder, and digest of its spec.
    spec : dict
        All that decides its result.
    parents : tuple of Run
        Runs that its spec names by digest.
    cost : Cost
        Of classifying one image.
    train_multiply_adds : int
        Multiply-adds of its own training.
    teacher_multiply_adds : int
        Multiply-adds of its teacher's forwards, were it live.
    logit_caches : tuple of LogitCache
        One for each member of its teacher; none for a live teacher.
    """

    name: str
    digest: str
    spec: RunSpec
    parents: tuple["Run", ...]
    cost: Cost
    train_multiply_adds: int
    teacher_multiply_adds: int
    logit_caches: tuple["LogitCache", ...] = ()
    kind: ClassVar[str] = "runs"  # as the store names it

    @property
    def network(self) -> str:
        """Return the name of its network."""
        return self.spec.network.name

    @property
    def seed(self) -> int:
        """Return its seed."""
        return self.spec.seed

    @property
    def split(self) -> int:
        """Return which draw of train subset, validation and label noise it sees."""
        return self.spec.data.split

    @property
    def epochs(self) -> int:
        """Return the number of its epochs; 0 for pretrained weights."""
        return self.spec.recipe.epochs

    @property
    def multiply_adds(self) -> int:
        """Return the multiply-adds of its training and of its teacher's forwards."""
        return self.train_multiply_adds + self.teacher_multiply_adds


@dataclass(frozen=True, eq=False)
class LogitCache:
    """Logits of one (run, epoch) for every train image in every view.

    See `training.teachers.cached`.
    """

    name: str
    spec: LogitCacheSpec
    parent: Run
    multiply_adds: int
    bytes: int
    kind: ClassVar[str] = "tables"

    @property
    def parents(self) -> tuple[Run, ...]:
        """Return the run whose logits they are."""
        return (self.parent,)


@dataclass(frozen=True, eq=False)
class Ensemble:
    """An ensemble to evaluate: several (run, epoch) of one seed."""

    name: str
    digest: str
    spec: EnsembleSpec
    members: tuple[tuple[Run, int], ...]
    cost: Cost
    kind: ClassVar[str] = "ensembles"

    @property
    def seed(self) -> int:
        """Return its seed."""
        return self.spec.seed

    @property
    def split(self) -> int:
        """Return the split of all its members, which share their validation images."""
        return self.members[0][0].split

    @property
    def parents(self) -> tuple[Run, ...]:
        """Return the runs of its members, each once."""
        return tuple(dict.fromkeys(run for run, _ in self.members))


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier on the features of one (run, epoch), for another data set.

    Attributes
    ----------
    card : DatasetCard
        Of the other data set.
    multiply_adds : int
        Multiply-adds of the forwards that compute the features.
    """

    name: str
    digest: str
    spec: ProbeSpec
    run: Run
    card: DatasetCard
    multiply_adds: int
    kind: ClassVar[str] = "probes"

    @property
    def seed(self) -> int:
        """Return its seed."""
        return self.spec.seed

    @property
    def split(self) -> int:
        """Return the split of the probed run; the images of the probe are another set's."""
        return self.run.split

    @property
    def parents(self) -> tuple[Run, ...]:
        """Return the probed run."""
        return (self.run,)


@dataclass(frozen=True, eq=False)
class ExportEval:
    """An export evaluation: one (run, epoch) as ONNX files, in float32 and in 8-bit integers.

    Records call it a gauge.
    """

    name: str
    digest: str
    spec: ExportEvalSpec
    run: Run
    kind: ClassVar[str] = "gauges"

    @property
    def seed(self) -> int:
        """Return its seed."""
        return self.spec.seed

    @property
    def split(self) -> int:
        """Return the split of the exported run."""
        return self.run.split

    @property
    def parents(self) -> tuple[Run, ...]:
        """Return the exported run."""
        return (self.run,)


# Nodes that leave a record, and all that a job makes.
RecordedNode = Run | Ensemble | Probe | ExportEval
Node = RecordedNode | LogitCache


@dataclass(frozen=True, eq=False)
class Teacher:
    """The teacher of a student: one (run, epoch), or several averaged.

    Attributes
    ----------
    label : str
        Name in the study.
    stop : Stop
        Where its training stopped.
    members : tuple of (Run, int)
        Runs, each at an epoch.
    average_at : str
        What of several members is averaged; `one` for a single member.
    ensemble : Ensemble or None
        The ensemble of several members.
    """

    label: str
    stop: Stop
    members: tuple[tuple[Run, int], ...]
    average_at: str = "one"
    ensemble: Ensemble | None = None

    @classmethod
    def from_run(cls, label: str, run: Run, stop: Stop | None = None) -> "Teacher":
        """Make a teacher of one run, at a stop or at its end.

        Parameters
        ----------
        label : str
            Name in the study.
        run : Run
            The run.
        stop : Stop, optional
            By default its last epoch.

        Returns
        -------
        Teacher
            The teacher.
        """
        stop = stop or Stop("full", run.epochs)
        return cls(label, stop, ((run, stop.epochs),))

    @property
    def multiply_adds(self) -> int:
        """Return the multiply-adds of classifying one image, by all members."""
        return sum(run.cost.multiply_adds for run, _ in self.members)

    @property
    def parameters(self) -> int:
        """Return the number of parameters of all members."""
        return sum(run.cost.parameters for run, _ in self.members)


@dataclass(frozen=True, eq=False)
class TeachingSpec:
    """What a student learns from: a teacher, a method, and the source of the teacher's outputs.

    Attributes
    ----------
    teacher : Teacher
        The teacher.
    method : dict
        The method as a run's spec has it (see `losses.method.build_method_spec`).
    outputs : str
        `live`, or the precision of the logit caches: `float16`, `float32`.
    teacher_precision : str
        Precision in which the teacher computes: `float32`, `bfloat16`.
    data : DataSpec
        The images of the student, as its run's spec has them.
    """

    teacher: Teacher
    method: Mapping[str, Any]
    outputs: str
    teacher_precision: str
    data: DataSpec

    def compute_stage(self, student: str) -> int:
        """Return which random streams a student starts from.

        A direct student starts from the weights of the scratch run (stage 0), which pairs the two;
        but never on a stream that its own teacher has used.

        Parameters
        ----------
        student : str
            Network of the student.

        Returns
        -------
        int
            The stage.
        """
        members = [run for run, _ in self.teacher.members]
        if all(run.spec.teacher is None and run.network != student for run in members):
            return 0
        return 1 + max(run.spec.stage for run in members)


@dataclass(frozen=True, eq=False)
class Cell:
    """One run in its place in a block: a row of the block's tables, for one seed.

    Attributes
    ----------
    block : str
        Name of the experiment.
    teacher : Teacher
        Teacher at the head of the path.
    via : tuple of str
        Networks between the head and this one.
    student : str
        Network of the run.
    method : str
        Label of the method; staged methods are joined by ` > `.
    generation, step : int
        Position on the path, from 1.
    last : bool
        Whether it is the end of its path.
    run : Run
        The run.
    seed : int
        Seed of the student.
    length, train_size : int or None
        Epochs and training images of all networks between the head and this one; None where the
        block lists none, and they are as the study has them.
    """

    block: str
    teacher: Teacher
    via: tuple[str, ...]
    student: str
    method: str
    generation: int
    step: int
    last: bool
    run: Run
    seed: int
    length: int | None = None
    train_size: int | None = None


@dataclass(frozen=True)
class EnsembleRow:
    """An ensemble under the name that the study gives it, for one seed.

    Attributes
    ----------
    label : str
        Name in the study.
    source : str
        What is averaged: networks, or a block and its student.
    ensemble : Ensemble
        The ensemble.
    teacher, method
        Of an ensemble of a block's generations, those of their path.
    """

    label: str
    source: str
    ensemble: Ensemble
    teacher: Teacher | None = None
    method: str = ""


@dataclass(frozen=True)
class ProbeRow:
    """A probe in its place: `role` says which of a cell's networks is probed.

    The roles are scratch, student and teacher.
    """

    transfer: str
    role: str
    cell: Cell
    probe: Probe


@dataclass(frozen=True)
class ExportEvalRow:
    """An export evaluation in its place: `role` says which of a cell's networks it is of.

    The roles are scratch, student and teacher.
    """

    role: str
    cell: Cell
    export_eval: ExportEval


@dataclass(frozen=True)
class Share:
    """One of several shares of a study, as in `--share 2/5`.

    Attributes
    ----------
    number, count : int
        Which share of how many; the first is 1.
    is_whole : bool
        Whether it also has what its runs descend from in other shares, rather than wait for it.
    """

    number: int
    count: int
    is_whole: bool = False

    def __str__(self) -> str:
        """Return the share as it is typed."""
        return f"{self.number}/{self.count}"


@dataclass(frozen=True)
class Plan:
    """Everything that a study needs: nodes by name, and where the study uses them.

    Attributes
    ----------
    study : Study
        The study.
    card : DatasetCard
        Of its data set.
    unlabelled : UnlabelledCard or None
        Of unlabelled images that are no part of the data set.
    runs, ensembles, logit_caches, probes, gauges : dict of str to node
        Nodes by name, parents first; `gauges` are the export evaluations.
    cells, ensemble_rows, probe_rows, export_eval_rows : list
        Where the study uses them.
    datasets : dict of str to DataConfig
        Data sets by the folder in which they are prepared.
    scratch : dict of (str, int, int) to Run
        Runs on labels alone, by network, seed and split.
    scratch_variants : dict of (str, int, int, int or None, int or None) to Run
        Those of blocks that list lengths or sizes, also by length and size, None where they list
        none.
    scratch_long : list of (str, Run, Cell)
        Longer runs on labels, by block, with the cell whose cost they equal.
    checkpoints_to_keep : dict of str to set of int
        Epochs to keep, by the name of the run.
    roles : dict of str to set of str
        Roles (teacher, student, ...) by the name of the run.
    weights : dict of str to str
        Files of pretrained weights by the name of the run.
    whole : Plan or None
        The plan of the whole study, where this is a share of it; see `plan.share`.
    share : Share or None
        Which share it is.
    """

    study: Study
    card: DatasetCard
    unlabelled: UnlabelledCard | None = None
    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    ensembles: dict[str, Ensemble] = field(default_factory=dict[str, Ensemble])
    logit_caches: dict[str, LogitCache] = field(default_factory=dict[str, LogitCache])
    cells: list[Cell] = field(default_factory=list[Cell])
    ensemble_rows: list[EnsembleRow] = field(default_factory=list[EnsembleRow])
    probes: dict[str, Probe] = field(default_factory=dict[str, Probe])
    probe_rows: list[ProbeRow] = field(default_factory=list[ProbeRow])
    gauges: dict[str, ExportEval] = field(default_factory=dict[str, ExportEval])
    export_eval_rows: list[ExportEvalRow] = field(default_factory=list[ExportEvalRow])
    datasets: dict[str, DataConfig] = field(default_factory=dict[str, DataConfig])
    scratch: dict[tuple[str, int, int], Run] = field(
        default_factory=dict[tuple[str, int, int], Run]
    )
    scratch_variants: dict[tuple[str, int, int, int | None, int | None], Run] = field(
        default_factory=dict[tuple[str, int, int, int | None, int | None], Run]
    )
    scratch_long: list[tuple[str, Run, Cell]] = field(default_factory=list[tuple[str, Run, Cell]])
    checkpoints_to_keep: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    roles: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    weights: dict[str, str] = field(default_factory=dict[str, str])
    whole: "Plan | None" = None
    share: "Share | None" = None

    @property
    def recorded_nodes(self) -> dict[str, Mapping[str, RecordedNode]]:
        """Return the nodes that leave a record, by kind (as the store names it) and name."""
        return {
            "runs": self.runs,
            "ensembles": self.ensembles,
            "probes": self.probes,
            "gauges": self.gauges,
        }

    @property
    def nodes_by_name(self) -> dict[str, RecordedNode]:
        """Return the nodes that leave a record by name, parents first."""
        return {**self.runs, **self.ensembles, **self.probes, **self.gauges}

    def get_scratch_run(self, cell: Cell) -> Run:
        """Return the run on labels alone that a cell is compared with.

        Parameters
        ----------
        cell : Cell
            A cell of the plan.

        Returns
        -------
        Run
            The scratch run of its network, seed, split, length and size.
        """
        run = self.find_scratch_run(cell, cell.student)
        assert run is not None  # it is planned with the cell
        return run

    def find_scratch_run(self, cell: Cell, network: str) -> Run | None:
        """Return the scratch run of a network on the path of a cell, trained as the cell is.

        Parameters
        ----------
        cell : Cell
            A cell of the plan.
        network : str
            Its student, or a network of its `via`.

        Returns
        -------
        Run or None
            The run; None in a part of a plan that leaves it out.
        """
        key = (network, cell.seed, cell.run.split)
        if cell.length is None and cell.train_size is None:
            return self.scratch.get(key)
        return self.scratch_variants.get((*key, cell.length, cell.train_size))

    def list_scratch_runs(self) -> list[tuple[str, int, Run]]:
        """Return the network, the seed and the run of each scratch run."""
        by_key = {**self.scratch, **self.scratch_variants}
        return [(network, seed, run) for (network, seed, *_), run in by_key.items()]

    def keep_checkpoint(self, run: Run, epoch: int) -> None:
        """Keep the checkpoint of a run after an epoch; its last one is kept anyway.

        Parameters
        ----------
        run : Run
            A run of the plan.
        epoch : int
            Epoch after which the checkpoint is saved.
        """
        if epoch < run.epochs:
            self.checkpoints_to_keep.setdefault(run.name, set()).add(epoch)

    def add_role(self, run: Run, role: str) -> None:
        """Add a role to a run.

        Parameters
        ----------
        run : Run
            A run of the plan.
        role : {'teacher', 'student', 'scratch', 'member', 'scratch_long'}
            What the study uses it as.
        """
        self.roles.setdefault(run.name, set()).add(role)


def collect_with_ancestors(nodes: Iterable[RecordedNode]) -> set[str]:
    """Return the names of nodes and of all that they are made of."""
    queue, names = list(nodes), set[str]()
    while queue:
        node = queue.pop()
        if node.name not in names:
            names.add(node.name)
            queue += node.parents
    return names

"""What a plan is made of: what jobs make, and the places that a study gives them.

A run, a table, an ensemble, a probe and a gauge are each made by one job, have a spec and a name,
and wait for their `parents`. Cells and rows say where in the study one stands; several may share a
run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kdpipe.data.cards import Card
from kdpipe.data.keys import Data
from kdpipe.data.own.unlabelled.card import UnlabelledCard
from kdpipe.networks.family import Cost
from kdpipe.study.grammar import Study
from kdpipe.study.stops import Stop


@dataclass(frozen=True, eq=False)
class Run:
    """One network to train. `parents` are the runs that its spec names by digest."""

    name: str
    digest: str
    spec: dict
    parents: tuple["Run", ...]
    cost: Cost
    train_multiply_adds: int
    teacher_multiply_adds: int  # of the teacher's forwards while it teaches, were it live
    tables: tuple["Table", ...] = ()  # one for each member of its teacher; none if live

    @property
    def network(self) -> str:
        return self.spec["network"]["name"]

    @property
    def seed(self) -> int:
        return self.spec["seed"]

    @property
    def split(self) -> int:
        """Which draw of train subset, validation and label noise it sees."""
        return self.spec["data"].get("split", 0)

    @property
    def epochs(self) -> int:
        return self.spec["recipe"]["epochs"]

    @property
    def multiply_adds(self) -> int:
        """Of its training, and of its teacher's forwards."""
        return self.train_multiply_adds + self.teacher_multiply_adds


@dataclass(frozen=True, eq=False)
class Table:
    """What one (run, epoch) says of every train image in every view; see `teachers.tables`."""

    name: str
    spec: dict
    parent: Run
    multiply_adds: int
    bytes: int

    @property
    def parents(self) -> tuple[Run, ...]:
        return (self.parent,)


@dataclass(frozen=True, eq=False)
class Averaged:
    """An ensemble to score: several (run, epoch) of one seed."""

    name: str
    digest: str
    spec: dict
    members: tuple[tuple[Run, int], ...]
    cost: Cost

    @property
    def seed(self) -> int:
        return self.spec["seed"]

    @property
    def split(self) -> int:
        """Of all its members: those of two splits have no validation in common."""
        return self.members[0][0].split

    @property
    def parents(self) -> tuple[Run, ...]:
        return tuple(dict.fromkeys(run for run, _ in self.members))


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier on the features of one (run, epoch), for another data set."""

    name: str
    digest: str
    spec: dict
    run: Run
    card: Card  # of the other data set
    multiply_adds: int  # of the forwards that the features take

    @property
    def seed(self) -> int:
        return self.spec["seed"]

    @property
    def split(self) -> int:
        """Of the run that is probed; the images of the probe are another set's."""
        return self.run.split

    @property
    def parents(self) -> tuple[Run, ...]:
        return (self.run,)


@dataclass(frozen=True, eq=False)
class Gauge:
    """What one (run, epoch) comes to as a file that ships: in float32, and in 8-bit integers."""

    name: str
    digest: str
    spec: dict
    run: Run

    @property
    def seed(self) -> int:
        return self.spec["seed"]

    @property
    def split(self) -> int:
        return self.run.split

    @property
    def parents(self) -> tuple[Run, ...]:
        return (self.run,)


# What leaves a record, and what a job makes.
Recorded = Run | Averaged | Probe | Gauge
Item = Recorded | Table


@dataclass(frozen=True, eq=False)
class Teacher:
    """Who teaches a student: one (run, epoch), or several averaged."""

    label: str
    stop: Stop
    members: tuple[tuple[Run, int], ...]
    average_at: str = "one"
    ensemble: Averaged | None = None

    @classmethod
    def of(cls, label: str, run: Run, stop: Stop | None = None) -> "Teacher":
        """One run, at a stop or at its end."""
        stop = stop or Stop("full", run.epochs)
        return cls(label, stop, ((run, stop.epochs),))

    @property
    def multiply_adds(self) -> int:
        return sum(run.cost.multiply_adds for run, _ in self.members)

    @property
    def parameters(self) -> int:
        return sum(run.cost.parameters for run, _ in self.members)


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a student learns from: a teacher, a method, and how the teacher's outputs come to it."""

    teacher: Teacher
    method: dict  # as a spec has it, see `learning.method.spec`
    outputs: str  # live, or the precision of the tables: float16, float32

    def stage(self, student: str) -> int:
        """Which random streams a student that is this network starts from.

        A direct student starts from the weights of the scratch run (stage 0), which pairs the two;
        but never on a stream that its own teacher has used.
        """
        members = [run for run, _ in self.teacher.members]
        if all(run.spec["teacher"] is None and run.network != student for run in members):
            return 0
        return 1 + max(run.spec["stage"] for run in members)


@dataclass(frozen=True, eq=False)
class Cell:
    """One run in the place that a block gives it: a row of the block's tables, for one seed."""

    block: str
    teacher: Teacher  # at the head of the path
    via: tuple[str, ...]  # networks between the head and this one
    student: str
    method: str  # label; staged methods are joined by ` > `
    generation: int
    step: int
    last: bool  # the end of its path
    run: Run
    seed: int  # the student's


@dataclass(frozen=True)
class EnsembleRow:
    """An ensemble under the name that the study gives it, for one seed.

    `of` says what is averaged: networks, or a block and its student; an ensemble of a block's
    generations also carries the teacher and the method of their path.
    """

    label: str
    of: str
    ensemble: Averaged
    teacher: Teacher | None = None
    method: str = ""


@dataclass(frozen=True)
class ProbeRow:
    """A probe in its place: which of a cell's networks it asks. `of`: scratch, student, teacher."""

    transfer: str
    of: str
    cell: Cell
    probe: Probe


@dataclass(frozen=True)
class GaugeRow:
    """A gauge in its place: which of a cell's networks it is. `of`: scratch, student, teacher."""

    of: str
    cell: Cell
    gauge: Gauge


@dataclass(frozen=True)
class Plan:
    study: Study
    card: Card
    unlabelled: UnlabelledCard | None = None  # of images without labels that are no part of it
    runs: dict[str, Run] = field(default_factory=dict)  # by name, parents first
    ensembles: dict[str, Averaged] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)  # by name
    cells: list[Cell] = field(default_factory=list)
    ensemble_rows: list[EnsembleRow] = field(default_factory=list)
    probes: dict[str, Probe] = field(default_factory=dict)  # by name
    probe_rows: list[ProbeRow] = field(default_factory=list)
    gauges: dict[str, Gauge] = field(default_factory=dict)  # by name
    gauge_rows: list[GaugeRow] = field(default_factory=list)
    data_sets: dict[str, Data] = field(default_factory=dict)  # folder -> who is prepared there
    scratch: dict[tuple[str, int, int], Run] = field(default_factory=dict)  # network, seed, split
    scratch_long: list[tuple[str, Run, Cell]] = field(default_factory=list)  # block, run, priced by
    keep: dict[str, set[int]] = field(default_factory=dict)  # run name -> checkpoints
    roles: dict[str, set[str]] = field(default_factory=dict)  # run name -> teacher, student, ...
    weights: dict[str, str] = field(default_factory=dict)  # run name -> file of weights

    @property
    def recorded(self) -> dict[str, Mapping[str, Recorded]]:
        """What leaves a record, by kind (as the store calls it) and by name; tables leave none."""
        return {
            "runs": self.runs,
            "ensembles": self.ensembles,
            "probes": self.probes,
            "gauges": self.gauges,
        }

    def scratch_of(self, cell: Cell) -> Run:
        """The run on labels alone that a cell is compared with."""
        return self.scratch[cell.student, cell.seed, cell.run.split]

    def keep_checkpoint(self, run: Run, epoch: int) -> None:
        """Keep what a run is after an epoch; its end is kept anyway."""
        if epoch < run.epochs:
            self.keep.setdefault(run.name, set()).add(epoch)

    def give_role(self, run: Run, role: str) -> None:
        """Say what a run is planned as: teacher, student, scratch, member, scratch_long."""
        self.roles.setdefault(run.name, set()).add(role)

"""The arms of a search: the ends of its blocks, over the seeds of the study."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kdpipe.errors import KdpipeError
from kdpipe.plan.nodes import Cell, Plan, Run


class ArmKey(NamedTuple):
    """What identifies an arm: everything of a cell but its seed."""

    student: str
    teacher: str
    stop: str
    via: str
    method: str
    generation: int

    def __str__(self) -> str:
        """Return the arm in words, as the messages of a search name it."""
        stop = "" if self.stop == "full" else f" at {self.stop}"
        via = f" through {self.via}" if self.via else ""
        generation = f", generation {self.generation}" if self.generation > 1 else ""
        return f"{self.teacher}{stop}{via} with {self.method}{generation}"


@dataclass(frozen=True, eq=False)
class Arm:
    """An option of a search, with its cells.

    Attributes
    ----------
    key : ArmKey
        What it is.
    index : int
        Position in the study.
    cells : dict of int to Cell
        Cells by seed.
    """

    key: ArmKey
    index: int
    cells: dict[int, Cell] = field(default_factory=dict)

    @property
    def stop(self) -> tuple[str, str]:
        """Return the teacher, and where it stops."""
        return self.key.teacher, self.key.stop

    def get_teacher(self, seed: int) -> tuple[Run, int] | None:
        """Return the network that teaches it, and at which epoch.

        Parameters
        ----------
        seed : int
            Seed of the student.

        Returns
        -------
        (Run, int) or None
            None if several teachers are averaged.
        """
        teacher = self.cells[seed].teacher
        return teacher.members[0] if teacher.ensemble is None else None

    def count_epochs(self, seed: int) -> int:
        """Count the student-epochs of one seed.

        Parameters
        ----------
        seed : int
            Seed of the student.

        Returns
        -------
        int
            Epochs of all its students.
        """
        return count_epochs(self.get_students([seed]).values())

    def get_students(self, seeds: Iterable[int]) -> dict[str, Run]:
        """Return what is taught for it: itself, and the students on its path.

        Parameters
        ----------
        seeds : iterable of int
            Seeds of the student.

        Returns
        -------
        dict of str to Run
            Runs by name.
        """
        return {run.name: run for seed in seeds for run in _iter_taught(self.cells[seed].run)}


def collect_arms(plan: Plan) -> dict[str, list[Arm]]:
    """Return the arms of a whole plan.

    Two blocks that share an option share an arm. Students of too many operations are left out.

    Parameters
    ----------
    plan : Plan
        The whole plan.

    Returns
    -------
    dict of str to list of Arm
        Arms by student, in the order of the study.

    Raises
    ------
    KdpipeError
        If one option means several runs, or if a block that is not searched has a cell of one that
        is: what chose the winner would be evidence for it there.
    """
    search = plan.study.search
    arms: dict[ArmKey, Arm] = {}
    for cell in plan.cells:
        if search is None or cell.block not in search.blocks or not cell.last:
            continue
        if search.multiply_adds is not None and cell.run.cost.multiply_adds > search.multiply_adds:
            continue
        key = make_arm_key(cell)
        arm = arms.setdefault(key, Arm(key, len(arms)))
        if arm.cells.setdefault(cell.seed, cell).run is not cell.run:
            raise KdpipeError(
                f"search.blocks: {key} has two cells with different teachers (teacher_seed, or "
                "paths of an ensemble): search them in separate studies"
            )
    tried_cells = {
        tried_cell.run.name: tried_cell
        for arm in arms.values()
        for tried_cell in arm.cells.values()
    }
    for cell in plan.cells:
        if search is not None and cell.block not in search.blocks and cell.run.name in tried_cells:
            raise KdpipeError(
                f"search.blocks: {cell.block} shares the cell {make_arm_key(cell)} with "
                f"{tried_cells[cell.run.name].block}: search both blocks, or remove it from "
                f"{cell.block}"
            )
    by_student: dict[str, list[Arm]] = {}
    for arm in arms.values():
        by_student.setdefault(arm.key.student, []).append(arm)
    return by_student


def check_search(plan: Plan) -> None:
    """Raise KdpipeError for an impossible search.

    Parameters
    ----------
    plan : Plan
        The whole plan.

    Raises
    ------
    KdpipeError
        If no student competes, or if the budget pays for none.
    """
    study = plan.study
    if study.search is None:
        return
    arms_by_student, limit = collect_arms(plan), study.search.student_epochs
    if not arms_by_student:
        raise KdpipeError(
            f"search.multiply_adds: no student of {', '.join(study.search.blocks)} needs at most "
            f"{study.search.multiply_adds:,} operations per image"
        )
    seeds = [study.search_seeds[0], *study.due_seeds[len(study.search_seeds) :]]
    min_epochs = {
        student: min(count_epochs(arm.get_students(seeds).values()) for arm in arms)
        for student, arms in arms_by_student.items()
    }
    dearest = max(min_epochs, key=min_epochs.__getitem__)
    if limit is not None and limit / len(min_epochs) < min_epochs[dearest]:
        suffix = f", for each of {len(min_epochs)} students" if len(min_epochs) > 1 else ""
        raise KdpipeError(
            f"search.student_epochs: {limit:,} is too small: one cell of {dearest} and its "
            f"{len(seeds) - 1} fresh seeds need {min_epochs[dearest]:,} epochs{suffix}"
        )


def make_arm_key(cell: Cell) -> ArmKey:
    """Return what a cell is, without its seed.

    Parameters
    ----------
    cell : Cell
        A cell of the plan.

    Returns
    -------
    ArmKey
        Key of its arm.
    """
    stop = cell.teacher.stop.label
    via = " > ".join(cell.via)
    return ArmKey(cell.student, cell.teacher.label, stop, via, cell.method, cell.generation)


def count_epochs(students: Iterable[Run]) -> int:
    """Count the epochs of students.

    Parameters
    ----------
    students : iterable of Run
        Runs that were taught.

    Returns
    -------
    int
        Sum of their epochs.
    """
    return sum(run.epochs for run in students)


def _iter_taught(run: Run) -> Iterator[Run]:
    """Yield a run and its ancestors, as far as they were taught themselves."""
    if run.spec.teacher is not None:
        yield run
        for parent in run.parents:
            yield from _iter_taught(parent)

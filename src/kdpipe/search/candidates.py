"""Who competes in a search: the ends of its blocks, over the seeds of the study."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kdpipe.errors import KdpipeError
from kdpipe.plan.items import Cell, Plan, Run


class Option(NamedTuple):
    """What a cell is, whatever its seed."""

    student: str
    teacher: str
    stop: str
    via: str
    method: str
    generation: int

    def __str__(self) -> str:
        stop = "" if self.stop == "full" else f" at {self.stop}"
        via = f" through {self.via}" if self.via else ""
        often = f", generation {self.generation}" if self.generation > 1 else ""
        return f"{self.teacher}{stop}{via} with {self.method}{often}"


@dataclass(frozen=True, eq=False)
class Candidate:
    """An option with its cells, by seed. `place`: where the study has it."""

    option: Option
    place: int
    cells: dict[int, Cell] = field(default_factory=dict)

    @property
    def stop(self) -> tuple[str, str]:
        """The teacher, and where it stops."""
        return self.option.teacher, self.option.stop

    def taught_by(self, seed: int) -> tuple[Run, int] | None:
        """The network that teaches it, and at which epoch; None of several averaged."""
        teacher = self.cells[seed].teacher
        return teacher.members[0] if teacher.ensemble is None else None

    def price(self, seed: int) -> int:
        """Student-epochs of one seed."""
        return epochs(self.students([seed]).values())

    def students(self, seeds: Iterable[int]) -> dict[str, Run]:
        """What is taught for it, at these seeds, by name: itself, and those on its path."""
        return {run.name: run for seed in seeds for run in _taught(self.cells[seed].run)}


def of(plan: Plan) -> dict[str, list[Candidate]]:
    """The candidates of a whole plan, by student, as the study has them.

    Two blocks that share an option share a candidate. Students of too many operations are none.
    Raises KdpipeError where one option means several runs, or where a block that is not searched
    has a cell of one that is: what chose the winner would be evidence for it there.
    """
    search = plan.study.search
    found: dict[Option, Candidate] = {}
    for cell in plan.cells:
        if search is None or cell.block not in search.blocks or not cell.last:
            continue
        if search.multiply_adds is not None and cell.run.cost.multiply_adds > search.multiply_adds:
            continue
        one = option(cell)
        candidate = found.setdefault(one, Candidate(one, len(found)))
        if candidate.cells.setdefault(cell.seed, cell).run is not cell.run:
            raise KdpipeError(
                f"search.blocks: {one} is two cells, of other teachers (teacher_seed, or paths of "
                "an ensemble): search them in studies of their own"
            )
    tried = {c.run.name: c for one in found.values() for c in one.cells.values()}
    for cell in plan.cells:
        if search is not None and cell.block not in search.blocks and cell.run.name in tried:
            raise KdpipeError(
                f"search.blocks: {cell.block} has a cell of {tried[cell.run.name].block}, "
                f"{option(cell)}: search both, or leave it out of {cell.block}"
            )
    by_student: dict[str, list[Candidate]] = {}
    for candidate in found.values():
        by_student.setdefault(candidate.option.student, []).append(candidate)
    return by_student


def refuse(plan: Plan) -> None:
    """Raise KdpipeError for a search in which nobody competes, or whose budget pays for nobody."""
    study = plan.study
    if study.search is None:
        return
    competing, limit = of(plan), study.search.student_epochs
    if not competing:
        raise KdpipeError(
            f"search.multiply_adds: no student of {', '.join(study.search.blocks)} takes as few as "
            f"{study.search.multiply_adds:,} operations for an image"
        )
    seeds = [study.search_seeds[0], *study.due_seeds[len(study.search_seeds) :]]
    least = {
        student: min(epochs(one.students(seeds).values()) for one in ones)
        for student, ones in competing.items()
    }
    dearest = max(least, key=least.__getitem__)
    if limit is not None and limit / len(least) < least[dearest]:
        each = f", for each of {len(least)} students" if len(least) > 1 else ""
        raise KdpipeError(
            f"search.student_epochs: {limit:,} is too few: one cell of {dearest} and its "
            f"{len(seeds) - 1} fresh seeds take {least[dearest]:,} epochs{each}"
        )


def option(cell: Cell) -> Option:
    """What a cell is, without its seed."""
    stop = cell.teacher.stop.label
    via = " > ".join(cell.via)
    return Option(cell.student, cell.teacher.label, stop, via, cell.method, cell.generation)


def epochs(students: Iterable[Run]) -> int:
    """Student-epochs: of all that was taught."""
    return sum(run.epochs for run in students)


def _taught(run: Run) -> Iterator[Run]:
    """A run and those that it learned from, as far as they were taught themselves."""
    if run.spec["teacher"] is not None:
        yield run
        for parent in run.parents:
            yield from _taught(parent)

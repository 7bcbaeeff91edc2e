"""Who competes in a search: the ends of its blocks, over the seeds of the study."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

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

    def students(self, seeds: Iterable[int]) -> dict[str, Run]:
        """What is taught for it, at these seeds, by name: itself, and those on its path."""
        return {run.name: run for seed in seeds for run in _taught(self.cells[seed].run)}


def of(plan: Plan) -> dict[str, list[Candidate]]:
    """The candidates of a whole plan, by student, as the study has them.

    Two blocks that share an option share a candidate. Students of too many operations are none.
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
        candidate.cells.setdefault(cell.seed, cell)
    by_student: dict[str, list[Candidate]] = {}
    for candidate in found.values():
        by_student.setdefault(candidate.option.student, []).append(candidate)
    return by_student


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

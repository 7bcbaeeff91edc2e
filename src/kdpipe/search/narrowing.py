"""The part of a plan that a search has asked for so far: the same runs, only fewer of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kdpipe.plan.items import Cell, EnsembleRow, Plan, Recorded, Run


@dataclass
class Asked:
    """What the rounds of a search want trained: cells, and what is wanted for itself."""

    cells: set[Cell] = field(default_factory=set)  # of the whole plan
    checkpoints: dict[str, set[int]] = field(default_factory=dict)  # run name -> epochs
    scratch: set[str] = field(default_factory=set)  # names of runs
    gauges: set[str] = field(default_factory=set)  # names

    def add_cells(self, cells: Iterable[Cell]) -> None:
        self.cells |= set(cells)

    def add_teachers(self, points: Iterable[tuple[Run, int]]) -> None:
        """Networks whose NLL is wanted, each at an epoch."""
        for run, epoch in points:
            self.checkpoints.setdefault(run.name, set()).add(epoch)


def narrowed(plan: Plan, asked: Asked) -> Plan:
    """The plan without the cells of a search that nobody has asked for, and what they alone need.

    plan: the whole one, whose cells `asked` knows.
    """
    study = plan.study
    searched = set(study.search.blocks) if study.search else set()

    def is_wanted(cell: Cell) -> bool:
        return cell.block not in searched or cell in asked.cells

    ends = [cell for cell in plan.cells if is_wanted(cell)]
    compared = {cell: None for cell in ends if not study.is_tried(cell.block, cell.seed)}
    small = Plan(study, plan.card, plan.unlabelled)
    small.ensemble_rows.extend(_ensembles(plan, ends))
    small.scratch_long.extend(one for one in plan.scratch_long if one[2] in compared)
    small.probe_rows.extend(row for row in plan.probe_rows if row.cell in compared)
    small.gauge_rows.extend(row for row in plan.gauge_rows if row.cell in compared)
    teams = [row.ensemble for row in small.ensemble_rows]
    teams += [cell.teacher.ensemble for cell in ends if cell.teacher.ensemble is not None]
    wanted: list[Recorded] = [cell.run for cell in ends]
    wanted += [run for cell in compared for run in _scratch(plan, cell)]
    wanted += [run for _, run, _ in small.scratch_long]
    wanted += [row.probe for row in small.probe_rows] + [row.gauge for row in small.gauge_rows]
    wanted += teams
    wanted += [plan.runs[name] for name in {*asked.checkpoints, *asked.scratch}]
    wanted += [plan.gauges[name] for name in asked.gauges]
    names = _with_ancestors(wanted)
    for kind, items in plan.recorded.items():
        getattr(small, kind).update({name: items[name] for name in items if name in names})
    # Of a path the steps before its end too.
    small.cells.extend(
        cell for cell in plan.cells if is_wanted(cell) or (not cell.last and cell.run.name in names)
    )
    small.tables.update({table.name: table for run in small.runs.values() for table in run.tables})
    small.scratch.update({key: run for key, run in plan.scratch.items() if run.name in names})
    small.roles.update({name: roles for name, roles in plan.roles.items() if name in names})
    small.weights.update({name: file for name, file in plan.weights.items() if name in names})
    small.data_sets.update(plan.data_sets)
    # As the whole plan has it: whoever widens the search later finds them.
    small.keep.update({name: set(at) for name, at in plan.keep.items() if name in names})
    return small


def _ensembles(plan: Plan, ends: list[Cell]) -> list[EnsembleRow]:
    """The ensembles but those that are there to teach in a search, for seeds at which they do not.

    One that a table, a figure or a claim reads is there for itself.
    """
    study = plan.study
    heads = {
        name
        for block in study.experiments
        if study.search is not None and block.name in study.search.blocks
        for name in block.teachers
    }
    for reads in (study.tables, study.figures, study.claims):
        heads -= {name for names in reads.values() for name in names}
    teach = {cell.teacher.ensemble.name for cell in ends if cell.teacher.ensemble is not None}
    rows = plan.ensemble_rows
    return [row for row in rows if row.label not in heads or row.ensemble.name in teach]


def _scratch(plan: Plan, cell: Cell) -> list[Run]:
    """What a cell is compared with: its network on labels alone, and those on its way to it."""
    split = cell.run.split
    found = [plan.scratch.get((name, cell.seed, split)) for name in (*cell.via, cell.student)]
    return [run for run in found if run is not None]


def _with_ancestors(wanted: Iterable[Recorded]) -> set[str]:
    """The names of these, and of all that they are made of."""
    left, names = list(wanted), set()
    while left:
        item = left.pop()
        if item.name not in names:
            names.add(item.name)
            left += item.parents
    return names

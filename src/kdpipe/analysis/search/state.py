"""The state of a search: its rounds, what they have shown, and the part of the plan requested.

Rounds are decided by the records, and by nothing else. The journal says how a round was decided
when it was, so that a record which changes later is noticed: one file for each round that has
ended, results/searches/<study>-<digest>/round-N.json. The digest is of all that decides beside the
records: the rule, the options and their runs.

The budget of a search: epochs of students, and hours of jobs.

Hours are those in the records of the search; of what is not trained yet they are estimated from
multiply-adds, corrected for each network by what its runs took. So hours are known after the first
round of a search. A teacher of two students counts for each.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kdpipe import hashing
from kdpipe.analysis.search import elimination_rule
from kdpipe.analysis.search.search_space import Arm, ArmKey
from kdpipe.config.schema import SearchConfig
from kdpipe.errors import KdpipeError, StoreError
from kdpipe.plan.estimate import CostModel
from kdpipe.plan.nodes import (
    Cell,
    EnsembleRow,
    LogitCache,
    Plan,
    RecordedNode,
    Run,
    collect_with_ancestors,
)
from kdpipe.runs.files import READ_ERRORS, read_regular_file, write_json
from kdpipe.runs.store import Store

Job = Run | LogitCache
Jobs = dict[str, Job]  # by name
JobPrice = Callable[[Job], float]


class Limit(NamedTuple):
    """A maximum for the cells of one student; `price` is a job's part of it."""

    maximum: float
    price: JobPrice

    def sum_prices(self, jobs: Mapping[str, Job]) -> float:
        """Return the sum of the prices of jobs.

        Parameters
        ----------
        jobs : mapping of str to Job
            Jobs by name.

        Returns
        -------
        float
            In the unit of the limit.
        """
        return sum(map(self.price, jobs.values()))


def make_limits(
    search: SearchConfig, students: int, hours: JobPrice | None, excluded_jobs: Jobs
) -> list[Limit]:
    """Return what limits each of several students.

    Parameters
    ----------
    search : SearchConfig
        The search.
    students : int
        Number of students that share the budget.
    hours : callable or None
        Returns the hours of a job; None if no finished run says what one takes, so that nothing is
        affordable.
    excluded_jobs : dict of str to Job
        What was trained for students that do not compete.

    Returns
    -------
    list of Limit
        Epochs, then hours, as far as they are limited.
    """
    limits = []
    if search.student_epochs is not None:
        limits.append(Limit(search.student_epochs / students, _count_student_epochs))
    if search.hours is not None:
        price = hours or (lambda job: math.inf)  # unknown: nothing is affordable
        remaining = search.hours - sum(map(price, excluded_jobs.values()))
        limits.append(Limit(remaining / students, price))
    return limits


def make_hour_price(plan: Plan, records: Mapping[str, dict]) -> JobPrice | None:
    """Return a function that gives the hours of a job, by the records of runs.

    Parameters
    ----------
    plan : Plan
        The plan.
    records : mapping of str to dict
        Records of its runs, by name.

    Returns
    -------
    callable or None
        None if the records say nothing.
    """
    cost_model = CostModel(plan, records=records, start=0.0)
    if not cost_model.is_known:
        return None

    def price(job: Job) -> float:
        seconds = records.get(job.name, {}).get("seconds", {}).get("total")
        return (cost_model.estimate_seconds(job) if seconds is None else seconds) / 3600

    return price


def collect_jobs(runs: Iterable[Run]) -> Jobs:
    """Return the jobs of runs: themselves, all that they learn from, and its logit caches.

    Parameters
    ----------
    runs : iterable of Run
        Runs of a plan.

    Returns
    -------
    dict of str to Job
        Jobs by name.
    """
    jobs: Jobs = {}
    queue = list(runs)
    while queue:
        run = queue.pop()
        if run.name not in jobs:
            jobs[run.name] = run
            jobs |= {cache.name: cache for cache in run.logit_caches}
            queue += run.parents
    return jobs


def select_affordable(
    limits: list[Limit],
    arms: list[Arm],
    rivals: list[Arm],
    spent: Jobs,
    seeds: list[int],
    fresh_runs: list[Run],
    revision: int = elimination_rule.REVISION,
) -> list[Arm]:
    """Select as many arms, from the first, as the budget pays for at the first of some seeds.

    What the winner takes with fresh seeds is reserved first, and what the rule will request at the
    later seeds, as if the most expensive of the arms and their rivals went on.

    Parameters
    ----------
    limits : list of Limit
        Limits of the student; without any all arms are affordable.
    arms : list of Arm
        Arms in the order in which they are selected.
    rivals : list of Arm
        Arms that compete already and have this seed.
    spent : dict of str to Job
        What has been trained so far.
    seeds : list of int
        The seed that is due, and those after it.
    fresh_runs : list of Run
        Scratch runs of the fresh seeds.
    revision : int
        Revision of the rule.

    Returns
    -------
    list of Arm
        The affordable arms.
    """
    if not limits:
        return arms
    spent, selected = dict(spent), []
    totals = [limit.sum_prices(spent) for limit in limits]
    arm_costs = [_compute_arm_costs(limit, [*rivals, *arms], seeds[0]) for limit in limits]
    reserves = [sum(map(limit.price, fresh_runs)) for limit in limits]
    for arm in arms:
        new_jobs = collect_jobs([arm.cells[seeds[0]].run])
        new_jobs = {name: job for name, job in new_jobs.items() if name not in spent}
        new_totals = [
            total + limit.sum_prices(new_jobs) for total, limit in zip(totals, limits, strict=True)
        ]
        competitors = [*rivals, *selected, arm]
        counts = list(_iter_survivor_counts(len(competitors), len(seeds) - 1, revision)) + [
            1
        ] * len(fresh_runs)
        projected = [
            total
            + reserve
            + _estimate_later_cost([arm_cost[competitor] for competitor in competitors], counts)
            for total, reserve, arm_cost in zip(new_totals, reserves, arm_costs, strict=True)
        ]
        if all(total <= limit.maximum for total, limit in zip(projected, limits, strict=True)):
            spent, totals, selected = spent | new_jobs, new_totals, [*selected, arm]
    return selected


def find_cheapest(limits: list[Limit], arms: list[Arm], seed: int) -> Arm:
    """Return the arm that takes the least with a seed, by the last limit.

    Parameters
    ----------
    limits : list of Limit
        Limits of the student; hours, if limited, are the last.
    arms : list of Arm
        Arms to choose from.
    seed : int
        The seed.

    Returns
    -------
    Arm
        The cheapest arm.
    """
    return min(arms, key=lambda arm: limits[-1].sum_prices(collect_jobs([arm.cells[seed].run])))


class _ArmCost(NamedTuple):
    """What an arm takes with a seed: its students, their teachers, and who these are."""

    student_cost: float
    teacher_cost: float
    teacher: tuple[str, ...]  # names of runs


def _compute_arm_costs(limit: Limit, arms: list[Arm], seed: int) -> dict[Arm, _ArmCost]:
    """Compute what each arm takes with a seed."""
    arm_costs = {}
    for arm in dict.fromkeys(arms):
        cell = arm.cells[seed]
        total_cost = limit.sum_prices(collect_jobs([cell.run]))
        student_cost = sum(map(limit.price, arm.get_students([seed]).values()))
        teacher_cost = total_cost - student_cost if math.isfinite(student_cost) else math.inf
        arm_costs[arm] = _ArmCost(
            student_cost, teacher_cost, tuple(run.name for run, _ in cell.teacher.members)
        )
    return arm_costs


def _estimate_later_cost(arm_costs: list[_ArmCost], counts: list[int]) -> float:
    """Estimate what later seeds take at most; teachers are trained once."""
    student_cost = max(arm_cost.student_cost for arm_cost in arm_costs)
    teacher_cost = max(arm_cost.teacher_cost for arm_cost in arm_costs)
    teachers = len({arm_cost.teacher for arm_cost in arm_costs})
    return sum(student_cost * count + teacher_cost * min(count, teachers) for count in counts)


def _iter_survivor_counts(cells: int, seeds: int, revision: int) -> Iterator[int]:
    """Yield how many arms go on with each later seed; a single one needs no more."""
    for _ in range(seeds):
        if (cells := elimination_rule.count_survivors(cells, revision)) == 1:
            return
        yield cells


def _count_student_epochs(job: Job) -> float:
    """Return the epochs of a student; 0 for other jobs."""
    return job.epochs if isinstance(job, Run) and job.spec.teacher is not None else 0


SEARCHES_FOLDER = "searches"  # of a results folder
EARLIER_REVISION = 2  # of the rule, by which a search may have been begun
COMPARED_KEYS = ("round", "seeds", "runs", "known", "kept", "dropped")  # the others are text
ROUND_KEYS = {*COMPARED_KEYS, "what", "why", "next"}
LATENCY, TEACHERS, STUDENTS = "latency", "teachers", "students"
RECALLED, FRESH = "students set aside", "fresh seeds"


@dataclass(frozen=True)
class Round:
    """One round of a search.

    Attributes
    ----------
    number : int
        From 1.
    phase : str
        What is trained in it.
    seeds : tuple of int
        Seeds that it trains.
    arm_keys : tuple of ArmKey
        Arms that are trained in it or, for teachers, that wait for them.
    runs : frozenset of str
        Names of its runs.
    decided : bool
        Whether all its runs have ended; until then the following are empty.
    measurements : dict of str to float
        NLL of stops, mean errors of arms, or latencies.
    survivors : tuple of ArmKey
        Arms that go on.
    why : tuple of str
        Reasons.
    pending : frozenset of str
        Names of its runs, and of those that they learn from, without an outcome.
    """

    number: int
    phase: str
    seeds: tuple[int, ...]
    arm_keys: tuple[ArmKey, ...]
    runs: frozenset[str]
    decided: bool = False
    measurements: dict[str, float] = field(default_factory=dict)
    survivors: tuple[ArmKey, ...] = ()
    why: tuple[str, ...] = ()
    pending: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """Return the phase and its seeds in words."""
        seeds = "seed" if len(self.seeds) == 1 else "seeds"
        return f"{self.phase}, {seeds} {', '.join(map(str, self.seeds))}"


@dataclass
class RequestedCells:
    """What the rounds of a search request.

    Attributes
    ----------
    cells : set of Cell
        Cells of the whole plan.
    checkpoints : dict of str to set of int
        Epochs of teachers by the name of the run.
    scratch_runs, export_evals : set of str
        Names of runs, and of export evaluations.
    """

    cells: set[Cell] = field(default_factory=set)
    checkpoints: dict[str, set[int]] = field(default_factory=dict)
    scratch_runs: set[str] = field(default_factory=set)
    export_evals: set[str] = field(default_factory=set)

    def add_cells(self, cells: Iterable[Cell]) -> None:
        """Request cells.

        Parameters
        ----------
        cells : iterable of Cell
            Cells of the whole plan.
        """
        self.cells |= set(cells)

    def add_teachers(self, points: Iterable[tuple[Run, int]]) -> None:
        """Request networks whose NLL is needed.

        Parameters
        ----------
        points : iterable of (Run, int)
            Runs, each at an epoch.
        """
        for run, epoch in points:
            self.checkpoints.setdefault(run.name, set()).add(epoch)


@dataclass
class SearchState:
    """How far a search has come; errors are on validation, in points.

    Attributes
    ----------
    plan : Plan
        The whole plan.
    competing : dict of str to list of Arm
        All arms by student.
    rounds : list of Round
        Rounds so far; the last one may be due.
    requested : RequestedCells
        What the rounds request.
    errors : dict of ArmKey to dict of int to float
        Errors by arm and seed, as seen.
    nll : dict of (str, str) to float
        NLL by stop, at the first seed.
    correlations : dict of str to float
        Rank correlation of NLL and errors, by student.
    winners : dict of str to ArmKey
        The chosen arm by student.
    slow_students : dict of str to float
        Milliseconds for an image of students that are too slow.
    hours : float
        Hours that the runs of ended rounds took, summed over jobs.
    hour_price : callable or None
        Returns the hours of a job, by what those runs took.
    unaffordable : set of ArmKey
        Arms that the budget never pays for.
    """

    plan: Plan
    competing: dict[str, list[Arm]]
    rounds: list[Round] = field(default_factory=list)
    requested: RequestedCells = field(default_factory=RequestedCells)
    errors: dict[ArmKey, dict[int, float]] = field(default_factory=dict)
    nll: dict[tuple[str, str], float] = field(default_factory=dict)
    correlations: dict[str, float] = field(default_factory=dict)
    winners: dict[str, ArmKey] = field(default_factory=dict)
    slow_students: dict[str, float] = field(default_factory=dict)
    hours: float = 0.0
    hour_price: JobPrice | None = None
    unaffordable: set[ArmKey] = field(default_factory=set)

    def get_mean_error(self, option: ArmKey) -> float:
        """Return the mean error of an arm over the seeds that it was seen with.

        Parameters
        ----------
        option : ArmKey
            Key of the arm.

        Returns
        -------
        float
            In points; infinite if it was not seen, or diverged.
        """
        errors = self.errors.get(option, {})
        return math.fsum(errors.values()) / len(errors) if errors else math.inf

    def get_competitors(self, round_: Round) -> list[ArmKey]:
        """Return who competes in a round: survivors of the one before, and who is trained.

        Parameters
        ----------
        round_ : Round
            A round of the search.

        Returns
        -------
        list of ArmKey
            Keys of the arms.
        """
        survivors = self.rounds[round_.number - 2].survivors if round_.number > 1 else ()
        return list(dict.fromkeys([*survivors, *round_.arm_keys]))

    def find_dropping_round(self, option: ArmKey) -> Round | None:
        """Return the round in which an arm was dropped for good.

        Parameters
        ----------
        option : ArmKey
            Key of the arm.

        Returns
        -------
        Round or None
            None if it was not dropped.
        """
        rounds = [
            round_
            for round_ in self.rounds
            if option in round_.survivors or option in self.get_competitors(round_)
        ]
        last = rounds[-1] if rounds else None
        return last if last and last.decided and option not in last.survivors else None

    @property
    def current_round(self) -> Round | None:
        """Return the round that is due; None when the search has ended."""
        return None if self.rounds[-1].decided else self.rounds[-1]


def describe_latency(milliseconds: float) -> str:
    """Describe how fast a student is.

    Parameters
    ----------
    milliseconds : float
        For an image; infinite if its scratch run diverged.

    Returns
    -------
    str
        Words.
    """
    if not math.isfinite(milliseconds):
        return "its scratch run diverged, so nothing says how fast it is"
    return f"an image takes {milliseconds:.3g} ms"


# --- the part of a plan that a search has requested


def make_subplan(plan: Plan, requested: RequestedCells) -> Plan:
    """Return the plan without cells that a search has not requested, and what they alone need.

    Parameters
    ----------
    plan : Plan
        The whole plan.
    requested : RequestedCells
        What the rounds request.

    Returns
    -------
    Plan
        The same nodes, only fewer of them.
    """
    study = plan.study
    search_blocks = set(study.search.blocks) if study.search else set()

    def is_wanted(cell: Cell) -> bool:
        return cell.block not in search_blocks or cell in requested.cells

    ends = [cell for cell in plan.cells if is_wanted(cell)]
    compared = {cell: None for cell in ends if not study.is_search_cell(cell.block, cell.seed)}
    subplan = Plan(study, plan.card, plan.unlabelled)
    subplan.ensemble_rows.extend(_select_ensembles(plan, ends))
    subplan.scratch_long.extend(rival for rival in plan.scratch_long if rival[2] in compared)
    subplan.probe_rows.extend(row for row in plan.probe_rows if row.cell in compared)
    subplan.export_eval_rows.extend(row for row in plan.export_eval_rows if row.cell in compared)
    ensembles = [row.ensemble for row in subplan.ensemble_rows]
    ensembles += [cell.teacher.ensemble for cell in ends if cell.teacher.ensemble is not None]
    needed: list[RecordedNode] = [cell.run for cell in ends]
    needed += [run for cell in compared for run in _find_scratch_runs(plan, cell)]
    needed += [run for _, run, _ in subplan.scratch_long]
    needed += [row.probe for row in subplan.probe_rows] + [
        row.export_eval for row in subplan.export_eval_rows
    ]
    needed += ensembles
    needed += [plan.runs[name] for name in {*requested.checkpoints, *requested.scratch_runs}]
    needed += [plan.gauges[name] for name in requested.export_evals]
    names = collect_with_ancestors(needed)
    for kind, items in plan.recorded_nodes.items():
        getattr(subplan, kind).update({name: items[name] for name in items if name in names})
    # Of a path also the steps before its end.
    subplan.cells.extend(
        cell for cell in plan.cells if is_wanted(cell) or (not cell.last and cell.run.name in names)
    )
    subplan.logit_caches.update(
        {cache.name: cache for run in subplan.runs.values() for cache in run.logit_caches}
    )
    subplan.scratch.update({key: run for key, run in plan.scratch.items() if run.name in names})
    subplan.roles.update({name: roles for name, roles in plan.roles.items() if name in names})
    subplan.weights.update({name: file for name, file in plan.weights.items() if name in names})
    subplan.datasets.update(plan.datasets)
    # As in the whole plan: a search that is widened later finds them.
    subplan.checkpoints_to_keep.update(
        {name: set(epochs) for name, epochs in plan.checkpoints_to_keep.items() if name in names}
    )
    return subplan


def _select_ensembles(plan: Plan, ends: list[Cell]) -> list[EnsembleRow]:
    """Return ensembles without those that only teach, for seeds at which they do not.

    One that a table, a figure or a claim reads is there for itself.
    """
    study = plan.study
    heads = {
        name
        for block in study.experiments
        if study.search is not None and block.name in study.search.blocks
        for name in block.teachers
    }
    for selections in (study.tables, study.figures, study.claims):
        heads -= {name for names in selections.values() for name in names}
    teaching = {cell.teacher.ensemble.name for cell in ends if cell.teacher.ensemble is not None}
    rows = plan.ensemble_rows
    return [row for row in rows if row.label not in heads or row.ensemble.name in teaching]


def _find_scratch_runs(plan: Plan, cell: Cell) -> list[Run]:
    """Return the scratch runs that a cell is compared with, also those of its path."""
    runs = [plan.find_scratch_run(cell, name) for name in (*cell.via, cell.student)]
    return [run for run in runs if run is not None]


# --- the journal: decisions as files


def get_journal_folder(search_state: SearchState, store: Store) -> Path:
    """Return the folder of the decisions of a search.

    Parameters
    ----------
    search_state : SearchState
        The search.
    store : Store
        The results folder.

    Returns
    -------
    Path
        It need not exist.

    Raises
    ------
    KdpipeError
        If the search was begun by the earlier rule, and its study does not say so.
    """
    study = search_state.plan.study
    assert study.search is not None
    config = study.search.model_dump()
    for key in ("hours", "latency"):  # keys that older searches lack
        if config[key] is None:
            del config[key]
    del config["rule"]  # it stands beside it
    arms = [arm for alive in search_state.competing.values() for arm in alive]
    revision = elimination_rule.get_revision(study.search.rule)
    spec = {
        "rule": revision,
        "search": config,
        "reading": study.reading,
        "options": {
            f"{arm.key.student}: {arm.key}": {
                str(seed): cell.run.digest for seed, cell in sorted(arm.cells.items())
            }
            for arm in arms
        },
    }
    folder, earlier = (
        store.root / SEARCHES_FOLDER / f"{study.study}-{hashing.hash_spec(one)[:12]}"
        for one in (spec, spec | {"rule": EARLIER_REVISION})
    )
    if study.search.rule is None and earlier.exists() and not folder.exists():
        raise KdpipeError(
            f"search: this search was started under rule {EARLIER_REVISION} and keeps it to its "
            f"end: write rule: {EARLIER_REVISION} under search, or remove {earlier} to start again"
        )
    return folder


def save_journal(search_state: SearchState, store: Store) -> None:
    """Write the decisions that are missing, and compare those that exist.

    Parameters
    ----------
    search_state : SearchState
        The search.
    store : Store
        The results folder.

    Raises
    ------
    StoreError
        If a decision was made on other numbers than the records have now.
    """
    folder = get_journal_folder(search_state, store)
    for round_ in search_state.rounds:
        if not round_.decided:
            break
        content, path = round_to_json(search_state, round_), folder / f"round-{round_.number}.json"
        if not path.exists():
            write_json(path, hashing.add_checksum(content))
            continue
        existing = _read_round(path)
        if changed := [key for key in COMPARED_KEYS if existing.get(key) != content[key]]:
            raise StoreError(
                f"{path}: round {round_.number} of the search was decided on other records than "
                f"the present ones ({', '.join(changed)} would differ): restore the records, or "
                f"remove {folder} to continue with the present ones"
            )
        if "seal" not in existing:  # of an earlier version
            write_json(path, hashing.add_checksum(content))


def round_to_json(search_state: SearchState, round_: Round) -> dict:
    """Return a decision in plain values; null stands for what is not finite.

    Parameters
    ----------
    search_state : SearchState
        The search.
    round_ : Round
        A decided round.

    Returns
    -------
    dict
        Content of its file.
    """
    next_round = next(
        (other for other in search_state.rounds if other.number == round_.number + 1), None
    )
    return {
        "round": round_.number,
        "what": round_.phase,
        "seeds": list(round_.seeds),
        "runs": sorted(round_.runs),
        "known": {
            name: value if math.isfinite(value) else None
            for name, value in round_.measurements.items()
        },
        "kept": [f"{arm_key.student}: {arm_key}" for arm_key in round_.survivors],
        "dropped": [
            f"{arm_key.student}: {arm_key}"
            for arm_key in search_state.get_competitors(round_)
            if arm_key not in round_.survivors
        ],
        "why": list(round_.why),
        "next": str(next_round) if next_round else "the end",
    }


def find_journal_errors(store: Store) -> Iterator[str]:
    """Yield one line for each file of a search's decisions that is damaged, altered or missing.

    Files of earlier versions have no checksum; the next start or report adds it.

    Parameters
    ----------
    store : Store
        The results folder.
    """
    for folder in sorted((store.root / SEARCHES_FOLDER).glob("*")):
        if folder.is_symlink() or not folder.is_dir():
            yield f"{folder}: not the decisions of a search: move it out of here, or remove it"
            continue
        numbers: list[int] = []
        for path in sorted(folder.iterdir()):
            number = path.stem.removeprefix("round-")
            if path.suffix == ".tmp":  # reported as left by a killed process
                continue
            if path.name != f"round-{number}.json" or not (number.isascii() and number.isdigit()):
                yield f"{path}: not a decision of a search: move it out of here, or remove it"
                continue
            numbers.append(int(number))
            try:
                if _read_round(path)["round"] != int(number):
                    yield f"{path}: the decision of another round: remove it"
            except StoreError as error:
                yield str(error)
        for missing in sorted({*range(1, max(numbers, default=0))} - {*numbers}):
            yield (
                f"{folder / f'round-{missing}.json'}: missing, although later rounds exist: it "
                "is rewritten from the records by kdpipe report"
            )


def copy_journals(source: Store, target: Store) -> Iterator[str]:
    """Copy the decisions of searches into another results folder, where those that exist stay.

    Parameters
    ----------
    source, target : Store
        The results folders.

    Yields
    ------
    str
        A line for each search whose decisions are damaged or were made otherwise there; of these
        no later ones are copied.
    """
    for folder in sorted((source.root / SEARCHES_FOLDER).glob("*")):
        if folder.is_symlink() or not folder.is_dir():
            continue
        number = 1
        while (path := folder / f"round-{number}.json").exists():
            own_path = target.root / SEARCHES_FOLDER / folder.name / path.name
            try:
                content = _read_round(path)
                existing = _read_round(own_path) if own_path.exists() else None
            except StoreError as error:
                yield str(error)
                break
            if existing is None:
                write_json(own_path, content)
            elif any(existing.get(key) != content.get(key) for key in COMPARED_KEYS):
                yield f"{path}: this round was decided otherwise than in {own_path}, which stays"
                break
            number += 1


def _read_round(path: Path) -> dict:
    """Read the file of a decision."""
    try:
        content = dict(json.loads(read_regular_file(path)))
        if path.is_symlink() or content.keys() - {"seal"} != ROUND_KEYS:
            raise ValueError
        if "seal" in content and content != hashing.add_checksum(content):
            raise ValueError
        return content
    except READ_ERRORS:
        raise StoreError(
            f"{path} is damaged or altered: remove it, and it is rewritten from the records"
        ) from None

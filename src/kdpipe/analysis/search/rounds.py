"""The rounds of a search: what each requests, and what the records say when it is done.

A pure function of the study and the records: the same records give the same rounds on any machine,
in whatever order they came. It goes as far as the records go; the last round is then the one that
is due. Only numbers on validation are read, never on test.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from kdpipe.analysis.search import elimination_rule, search_space, state
from kdpipe.analysis.search.search_space import Arm, ArmKey
from kdpipe.analysis.search.state import (
    FRESH,
    LATENCY,
    RECALLED,
    STUDENTS,
    TEACHERS,
    Round,
    SearchState,
    describe_latency,
)
from kdpipe.config.schema import Study
from kdpipe.errors import StoreError
from kdpipe.plan import planner
from kdpipe.plan.nodes import ExportEval, Plan, Run
from kdpipe.runs.store import Store


def plan_due_runs(study: Study, store: Store) -> Plan:
    """Return the plan of what is due: everything or, in a search, what its rounds request.

    Parameters
    ----------
    study : Study
        The study.
    store : Store
        Its results folder.

    Returns
    -------
    Plan
        The part of the whole plan that is due.

    Raises
    ------
    StoreError
        If an archive is damaged.
    KdpipeError
        If the search is impossible.
    """
    return advance_search(study, store)[0]


def get_search_state(study: Study, store: Store) -> SearchState | None:
    """Return how far the search of a study has come.

    Parameters
    ----------
    study : Study
        The study.
    store : Store
        Its results folder.

    Returns
    -------
    SearchState or None
        None for a study without a search.

    Raises
    ------
    StoreError
        If an archive is damaged.
    KdpipeError
        If the search is impossible.
    """
    return advance_search(study, store)[1] if study.search else None


def advance_search(study: Study, store: Store) -> tuple[Plan, SearchState | None]:
    """Return the plan of what is due, and how far the search has come.

    Parameters
    ----------
    study : Study
        The study.
    store : Store
        Its results folder.

    Returns
    -------
    plan : Plan
        The part of the whole plan that is due.
    search_state : SearchState or None
        None for a study without a search.

    Raises
    ------
    StoreError
        If an archive is damaged.
    KdpipeError
        If the search is impossible.
    """
    full_plan = planner.build_plan(study)
    if study.search is None:
        return full_plan, None
    search_state = run_rounds(full_plan, store)
    return state.make_subplan(full_plan, search_state.requested), search_state


def run_rounds(plan: Plan, store: Store) -> SearchState:
    """Replay the rounds of a study's search as far as its records go.

    Parameters
    ----------
    plan : Plan
        The whole plan.
    store : Store
        The results folder.

    Returns
    -------
    SearchState
        How far the search has come.

    Raises
    ------
    KdpipeError
        If the search is impossible, as `search_space.check_search` says.
    """
    search_space.check_search(plan)
    return _SearchRunner(plan, store).run()


class _SearchRunner:
    """Replays the rounds of one search."""

    def __init__(self, plan: Plan, store: Store):
        assert plan.study.search is not None
        self.plan, self.study, self.search = plan, plan.study, plan.study.search
        self.records = SearchRecords(plan, store)
        self.state = SearchState(plan, search_space.collect_arms(plan))
        self.seeds = self.study.search_seeds
        self.fresh_seeds = self.study.due_seeds[len(self.seeds) :]
        self.spent: dict[str, state.Jobs] = {}  # by student: what was trained for it so far
        self.alive = {student: list(arms) for student, arms in self.state.competing.items()}
        self.slow_jobs: state.Jobs = {}  # what was trained for students that do not compete
        self.finished_jobs: set[str] = set()  # names of what ended rounds requested
        self.set_aside: dict[str, list[Arm]] = {student: [] for student in self.alive}

    def run(self) -> SearchState:
        """Replay all rounds that the records decide, and request the one that is due."""
        if self._drop_slow_students() and self._screen_teachers() and self._eliminate_arms():
            self._train_winners()
        records = self.records.get_timed(self.finished_jobs)
        self.state.hours = sum(record["seconds"]["total"] for record in records.values()) / 3600
        self.state.hour_price = state.make_hour_price(self.plan, records)
        return self.state

    def _drop_slow_students(self) -> bool:
        """Train a scratch run of each student, and drop students that are too slow.

        Return False while it is due, and if nobody is left.
        """
        limit = self.search.latency
        if limit is None:
            return True
        export_evals = {}
        for row in self.plan.export_eval_rows:
            if row.role == "scratch" and row.cell.seed == self.fresh_seeds[0]:
                export_evals.setdefault(row.cell.student, row.export_eval)
        export_evals = {student: export_evals[student] for student in self.alive}
        self.state.requested.export_evals |= {
            export_eval.name for export_eval in export_evals.values()
        }
        arm_keys = [arm.key for alive in self.alive.values() for arm in alive]
        if not self._begin_round(
            LATENCY,
            self.fresh_seeds[:1],
            arm_keys,
            (export_eval.run for export_eval in export_evals.values()),
        ):
            return False
        if not all(self.records.has_latency(export_eval) for export_eval in export_evals.values()):
            return False
        latencies = {
            student: self.records.get_latency(export_eval)
            for student, export_eval in export_evals.items()
        }
        self.state.slow_students = {student: ms for student, ms in latencies.items() if ms > limit}
        for student in self.state.slow_students:
            self.slow_jobs |= state.collect_jobs(
                [self._get_scratch_run(student, self.fresh_seeds[0])]
            )
            del self.alive[student], self.set_aside[student]
        self._end_round(
            latencies, [f"{student}: {describe_latency(ms)}" for student, ms in latencies.items()]
        )
        return bool(self.alive)

    def _screen_teachers(self) -> bool:
        """Train the first seed's teachers and set stops aside; False while it is due."""
        stops = {
            arm.stop: checkpoint
            for alive in self.alive.values()
            for arm in alive
            if (checkpoint := arm.get_teacher(self.seeds[0])) is not None
        }
        if len(stops) < elimination_rule.MIN_STOPS and self.search.hours is None:
            self._select_first()
            return True
        self.state.requested.add_teachers(stops.values())
        arm_keys = [arm.key for alive in self.alive.values() for arm in alive]
        runs = [run for run, _ in stops.values()]
        if self.search.hours is not None:  # they show what students take before these run
            runs += [self._get_scratch_run(student, self.fresh_seeds[0]) for student in self.alive]
        if not self._begin_round(TEACHERS, self.seeds[:1], arm_keys, runs):
            return False
        for student, alive in self.alive.items():
            heads = [arm.get_teacher(self.seeds[0]) for arm in alive]
            self.spent[student] = state.collect_jobs(head[0] for head in heads if head is not None)
        self.state.nll = {
            stop: self.records.get_nll(run, epoch) for stop, (run, epoch) in stops.items()
        }
        reasons = [self._set_aside_stops(student) for student in self.alive]
        reasons += self._select_first()
        nlls = {f"{teacher} {stop}": nll for (teacher, stop), nll in self.state.nll.items()}
        self._end_round(nlls, reasons)
        return True

    def _set_aside_stops(self, student: str) -> str:
        """Set aside the worst stops of a student; return the reason."""
        stops = {arm.stop for arm in self.alive[student]}
        screening = elimination_rule.screen_stops(
            {stop: nll for stop, nll in self.state.nll.items() if stop in stops}
        )
        probes = [self._find_first_arm(student, stop) for stop in screening.probed]
        set_aside = [
            arm
            for arm in self.alive[student]
            if arm.stop in (*screening.probed, *screening.set_aside) and arm not in probes
        ]
        self.set_aside[student] = set_aside
        self.alive[student] = [arm for arm in self.alive[student] if arm not in set_aside]
        if not set_aside:
            return f"{student}: none is set aside"
        text = " and ".join(str(arm.key) for arm in probes)
        return (
            f"{student}: {len(screening.selected)} stops with the lowest NLL teach, "
            f"{len(set_aside)} cells of the others are set aside; {text} test whether that is right"
        )

    def _eliminate_arms(self) -> bool:
        """Drop cells after each seed; False while a round is due."""
        for number, seed in enumerate(self.seeds):
            running = {
                student: alive
                for student, alive in self.alive.items()
                if len(alive) > 1 or not number
            }
            if not running:
                break
            if not self._train(STUDENTS, running, seed):
                return False
            if not number and (recalls := self._recall_arms()):
                self._end_round(
                    self._get_mean_errors(running), [reason for reason, _ in recalls.values()]
                )
                recalled = {student: arms for student, (_, arms) in recalls.items()}
                if not self._train(RECALLED, recalled, seed):
                    return False
                for student, arms in recalled.items():
                    competing = [*self.alive[student], *arms]
                    self.alive[student] = sorted(competing, key=lambda arm: arm.index)
            next_seed = self.seeds[number + 1] if number + 1 < len(self.seeds) else None
            mean_errors = self._get_mean_errors(running)
            reasons = [self._drop_arms(student, next_seed) for student in running]
            self._end_round(mean_errors, reasons)
        for student, alive in self.alive.items():
            self.state.winners[student] = alive[0].key
        return True

    def _recall_arms(self) -> dict[str, tuple[str, list[Arm]]]:
        """Return, by student, a reason and the arms that should not have been set aside."""
        recalls = {}
        for student, set_aside in self.set_aside.items():
            first_arms = {arm.stop: arm for arm in reversed(self.alive[student])}
            stops = [stop for stop in first_arms if stop in self.state.nll]
            errors = [
                self.state.get_mean_error(self._find_first_arm(student, stop).key) for stop in stops
            ]
            correlation = elimination_rule.compute_rank_correlation(
                [self.state.nll[stop] for stop in stops], errors
            )
            if len(stops) >= elimination_rule.MIN_STOPS:
                self.state.correlations[student] = correlation
            if set_aside and not elimination_rule.is_assumption_met(correlation):
                set_aside = self._select_affordable(
                    student, set_aside, self.seeds[0], self.alive[student]
                )
                text = f"{correlation:.2f}" if math.isfinite(correlation) else "not defined"
                recalls[student] = (
                    f"{student}: the NLL of its teachers and its errors have a rank correlation "
                    f"of {text} at seed {self.seeds[0]}, "
                    f"below {elimination_rule.MIN_CORRELATION:g}: what was set aside "
                    "competes after all",
                    set_aside,
                )
        return {student: recall for student, recall in recalls.items() if recall[1]}

    def _drop_arms(self, student: str, next_seed: int | None) -> str:
        """Keep the arms of a student that go on, best first; return the reason."""
        alive = self.alive[student]
        means = {arm: self.state.get_mean_error(arm.key) for arm in alive}
        if next_seed is None:
            self.alive[student] = elimination_rule.sort_by_mean(means)[:1]
            return f"{student}: there are no more seeds to choose by"
        revision = elimination_rule.get_revision(self.search.rule)
        survivors = elimination_rule.select_survivors(means, revision=revision)
        affordable = self._select_affordable(student, survivors, next_seed)
        self.alive[student] = affordable or survivors[:1]
        count = len(self.alive[student])
        if count < len(survivors):
            return f"{student}: the budget pays for {count} of {len(survivors)} that would go on"
        return f"{student}: the best {count} of {len(alive)} on validation"

    def _train_winners(self) -> None:
        """Train the winners with fresh seeds, and their scratch runs."""
        winners = {student: alive[:1] for student, alive in self.alive.items()}
        cells = [alive[0].cells[seed] for alive in winners.values() for seed in self.fresh_seeds]
        self.state.requested.add_cells(cells)
        runs = [cell.run for cell in cells] + [self.plan.get_scratch_run(cell) for cell in cells]
        arm_keys = [alive[0].key for alive in winners.values()]
        if self._begin_round(FRESH, self.fresh_seeds, arm_keys, runs):
            self._end_round({}, [])

    def _train(self, phase: str, arms_by_student: dict[str, list[Arm]], seed: int) -> bool:
        """Train arms with a seed, and read their errors; False while it is due."""
        arms = [arm for alive in arms_by_student.values() for arm in alive]
        cells = [arm.cells[seed] for arm in arms]
        self.state.requested.add_cells(cells)
        for student, alive in arms_by_student.items():
            jobs = state.collect_jobs(arm.cells[seed].run for arm in alive)
            self.spent.setdefault(student, {}).update(jobs)
        if not self._begin_round(
            phase, [seed], [arm.key for arm in arms], (cell.run for cell in cells)
        ):
            return False
        for arm in arms:
            error = self.records.get_error(arm.cells[seed].run)
            self.state.errors.setdefault(arm.key, {})[seed] = error
        return True

    def _begin_round(
        self, phase: str, seeds: list[int], arm_keys: list[ArmKey], runs: Iterable[Run]
    ) -> bool:
        """Begin a round; return whether all its runs have ended.

        It also trains what is certain to be needed, the scratch runs of a fresh seed: they keep
        cores busy when the round comes to its end.
        """
        runs = list(runs)
        names = frozenset(run.name for run in runs)
        number = len(self.state.rounds) + 1
        self.state.rounds.append(Round(number, phase, tuple(seeds), tuple(arm_keys), names))
        if number <= len(self.fresh_seeds):
            scratch_runs = [
                self._get_scratch_run(student, self.fresh_seeds[number - 1])
                for student in self.alive
            ]
            self.state.requested.scratch_runs |= {run.name for run in scratch_runs}
        checkpoints = self.state.requested.checkpoints
        if not all(self.records.has_ended(run, checkpoints.get(run.name, ())) for run in runs):
            pending = frozenset(
                job.name
                for job in state.collect_jobs(runs).values()
                if isinstance(job, Run)
                and not self.records.has_ended(job, checkpoints.get(job.name, ()))
            )
            self.state.rounds[-1] = replace(self.state.rounds[-1], pending=pending)
            return False
        self.finished_jobs |= state.collect_jobs(runs).keys()
        return True

    def _end_round(self, measurements: dict[str, float], reasons: list[str]) -> None:
        """Mark the last round as decided."""
        survivors = tuple(arm.key for alive in self.alive.values() for arm in alive)
        self.state.rounds[-1] = replace(
            self.state.rounds[-1],
            decided=True,
            measurements=measurements,
            survivors=survivors,
            why=tuple(reasons),
        )

    def _select_affordable(
        self, student: str, arms: list[Arm], seed: int, rivals: list[Arm] | None = None
    ) -> list[Arm]:
        """Select as many arms, from the first, as the budget pays for with a seed.

        `rivals` compete already and have this seed.
        """
        seeds = self.seeds[self.seeds.index(seed) :]
        spent = self.spent.get(student, {})
        scratch = [self._get_scratch_run(student, seed) for seed in self.fresh_seeds]
        return state.select_affordable(
            self._get_limits(),
            arms,
            rivals or [],
            spent,
            seeds,
            scratch,
            elimination_rule.get_revision(self.search.rule),
        )

    def _get_limits(self) -> list[state.Limit]:
        """Return what limits each student, by what is known."""
        records = self.records.get_timed(self.finished_jobs) if self.search.hours else {}
        hours = state.make_hour_price(self.plan, records)
        return state.make_limits(self.search, len(self.alive), hours, self.slow_jobs)

    def _select_first(self) -> list[str]:
        """Keep of each student what its budget pays for at first; return the reasons."""
        messages = []
        for student, alive in self.alive.items():
            nlls = {arm: self.state.nll.get(arm.stop, 0.0) for arm in alive}
            affordable = self._select_affordable(
                student, elimination_rule.sort_by_mean(nlls), self.seeds[0]
            )
            count = len(affordable)
            if not affordable:  # hours are not known before
                affordable = [
                    state.find_cheapest(
                        self._get_limits(), elimination_rule.sort_by_mean(nlls), self.seeds[0]
                    )
                ]
            self.state.unaffordable |= {arm.key for arm in alive if arm not in affordable}
            self.alive[student] = [arm for arm in alive if arm in affordable]
            if count < len(alive):
                messages.append(f"{student}: the budget pays for {count} of {len(alive)} at first")
            if not count:
                messages[-1] += f"; the cheapest, {affordable[0].key}, goes on all the same"
        return messages

    def _get_scratch_run(self, student: str, seed: int) -> Run:
        """Return the scratch run of a student."""
        return self.plan.scratch[student, seed, self.study.splits[0]]

    def _find_first_arm(self, student: str, stop: tuple[str, str]) -> Arm:
        """Return the arm that represents a stop."""
        return next(arm for arm in self.state.competing[student] if arm.stop == stop)

    def _get_mean_errors(self, students: dict[str, list[Arm]]) -> dict[str, float]:
        """Return the mean errors of the arms that compete."""
        return {
            f"{student}: {arm.key}": self.state.get_mean_error(arm.key)
            for student in students
            for arm in self.alive[student]
        }


class SearchRecords:
    """What a search reads of the records of a plan, read once: numbers on validation.

    Parameters
    ----------
    plan : Plan
        The whole plan.
    store : Store
        The results folder.
    """

    def __init__(self, plan: Plan, store: Store):
        self.eval_point = plan.study.reading
        self.metric = plan.study.metric
        self.predictions = None
        if self.metric != "top1":  # with pandas, which a plan by top-1 need not load
            from kdpipe.analysis.per_image import PerImageMetrics

            self.predictions = PerImageMetrics(plan, store, self.eval_point)
        self.run_records = store.load_records("runs")
        needs_latency = plan.study.search is not None and plan.study.search.latency is not None
        self.export_eval_records = store.load_records("gauges") if needs_latency else {}

    def get_timed(self, names: Iterable[str]) -> dict[str, dict]:
        """Return the records of runs that say how long they took.

        Parameters
        ----------
        names : iterable of str
            Names of runs.

        Returns
        -------
        dict of str to dict
            Records by name.
        """
        records = {name: self.run_records.get(name) for name in names}
        return {name: record for name, record in records.items() if record and "seconds" in record}

    def has_ended(self, run: Run, checkpoints: Iterable[int] = ()) -> bool:
        """Return whether a run has an outcome and, if it is done, some checkpoints.

        Parameters
        ----------
        run : Run
            The run.
        checkpoints : iterable of int
            Epochs whose checkpoints are needed.

        Returns
        -------
        bool
            Whether nothing of it is to do.
        """
        record = self.run_records.get(run.name)
        if record is None or record["digest"] != run.digest:
            return False
        if record["status"] != "done":
            return True
        return all(
            epoch == run.epochs or str(epoch) in record["checkpoints"] for epoch in checkpoints
        )

    def has_latency(self, export_eval: ExportEval) -> bool:
        """Return whether the latency of a network is known.

        Parameters
        ----------
        export_eval : ExportEval
            Its export evaluation.

        Returns
        -------
        bool
            Whether it has a record.
        """
        record = self.export_eval_records.get(export_eval.name)
        return record is not None and record["digest"] == export_eval.digest

    def get_latency(self, export_eval: ExportEval) -> float:
        """Return the median latency of the float32 graph for one image.

        Parameters
        ----------
        export_eval : ExportEval
            The export evaluation of a network, with a record.

        Returns
        -------
        float
            Milliseconds; infinite for a network that diverged, which has no graph.
        """
        graphs = self.export_eval_records[export_eval.name].get("graphs")
        return graphs["float32"]["latency"]["1"]["median"] if graphs else math.inf

    def get_error(self, run: Run) -> float:
        """Return the error on validation by the study's metric, at its evaluation point.

        Parameters
        ----------
        run : Run
            A run with a record.

        Returns
        -------
        float
            In points; infinite if there is none.
        """
        validation = (self.run_records[run.name].get(self.eval_point) or {}).get("val")
        if not validation:
            return math.inf
        if self.predictions is None:
            return 100 * (1 - validation["accuracy"])
        from kdpipe.runs.class_metrics import compute_decision_metric

        predictions = self.predictions.load_predictions(run.name, "val")
        if predictions is None:
            raise StoreError(
                f"metric: {self.metric}: which class run {run.name} takes its validation images "
                "for is not stored: restore its folder, or remove it and train the run again"
            )
        return 100 * (1 - compute_decision_metric(*predictions, self.metric))

    def get_nll(self, run: Run, epoch: int) -> float:
        """Return the mean negative log-likelihood on validation after an epoch.

        Parameters
        ----------
        run : Run
            A run with a record.
        epoch : int
            Its last epoch, or one with a checkpoint.

        Returns
        -------
        float
            In nat; infinite if there is none.
        """
        record = self.run_records[run.name]
        is_last = epoch == run.epochs
        metrics = record["last"] if is_last else record["checkpoints"].get(str(epoch))
        validation = (metrics or {}).get("val")
        return validation["nll"] if validation else math.inf

"""The rounds of a search: what each asks for, and what the records say when it is done.

A pure function of the study and the records that there are: the same records give the same rounds
on any machine, in whatever order they came. It goes as far as the records go, and the last round is
then the one that is due.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from kdpipe.plan.items import Plan, Run
from kdpipe.results.store import Store
from kdpipe.search import budget, candidates, rule
from kdpipe.search.candidates import Candidate, Option
from kdpipe.search.known import Records
from kdpipe.search.searched import (
    FRESH,
    LATENCY,
    RECALLED,
    STUDENTS,
    TEACHERS,
    Round,
    Searched,
    speed,
)


def walk(plan: Plan, store: Store) -> Searched:
    """The rounds of a study's search, as far as its records go. plan: the whole one.

    Raises KdpipeError for one that cannot be, as `candidates.refuse`.
    """
    candidates.refuse(plan)
    return _Walk(plan, store).to_the_end()


class _Walk:
    def __init__(self, plan: Plan, store: Store):
        assert plan.study.search is not None
        self.plan, self.study, self.search = plan, plan.study, plan.study.search
        self.records = Records(plan, store)
        self.found = Searched(plan, candidates.of(plan))
        self.seeds = self.study.search_seeds
        self.fresh = self.study.due_seeds[len(self.seeds) :]
        self.spent: dict[str, budget.Jobs] = {}  # by student: what was made for it so far
        self.alive = {student: list(all_) for student, all_ in self.found.competing.items()}
        self.too_slow: budget.Jobs = {}  # what was made for students that do not compete
        self.made: set[str] = set()  # by name, what ended rounds have asked for
        self.aside: dict[str, list[Candidate]] = {student: [] for student in self.alive}

    def to_the_end(self) -> Searched:
        if self._by_latency() and self._by_teachers() and self._by_students():
            self._of_winners()
        known = self.records.of(self.made)
        self.found.hours = sum(one["seconds"]["total"] for one in known.values()) / 3600
        self.found.price = budget.hours(self.plan, known)
        return self.found

    def _by_latency(self) -> bool:
        """Train a scratch run of each student, and drop the students that are too slow.

        False while it is due, and where nobody is left.
        """
        most = self.search.latency
        if most is None:
            return True
        gauges = {}
        for row in self.plan.gauge_rows:
            if row.of == "scratch" and row.cell.seed == self.fresh[0]:
                gauges.setdefault(row.cell.student, row.gauge)
        gauges = {student: gauges[student] for student in self.alive}
        self.found.asked.gauges |= {gauge.name for gauge in gauges.values()}
        asked = [one.option for alive in self.alive.values() for one in alive]
        if not self._begin(LATENCY, self.fresh[:1], asked, (g.run for g in gauges.values())):
            return False
        if not all(self.records.measured(gauge) for gauge in gauges.values()):
            return False
        taken = {student: self.records.latency(gauge) for student, gauge in gauges.items()}
        self.found.slow = {student: ms for student, ms in taken.items() if ms > most}
        for student in self.found.slow:
            self.too_slow |= budget.jobs([self._scratch(student, self.fresh[0])])
            del self.alive[student], self.aside[student]
        self._decide(taken, [f"{student}: {speed(ms)}" for student, ms in taken.items()])
        return bool(self.alive)

    def _by_teachers(self) -> bool:
        """Train the teachers of the first seed, and set stops aside; False while it is due."""
        stops = {
            candidate.stop: point
            for alive in self.alive.values()
            for candidate in alive
            if (point := candidate.taught_by(self.seeds[0])) is not None
        }
        if len(stops) < rule.FEWEST_STOPS and self.search.hours is None:
            self._afford_first()
            return True
        self.found.asked.add_teachers(stops.values())
        asked = [one.option for alive in self.alive.values() for one in alive]
        runs = [run for run, _ in stops.values()]
        if self.search.hours is not None:  # by these what students take is known before they run
            runs += [self._scratch(student, self.fresh[0]) for student in self.alive]
        if not self._begin(TEACHERS, self.seeds[:1], asked, runs):
            return False
        for student, alive in self.alive.items():
            heads = [one.taught_by(self.seeds[0]) for one in alive]
            self.spent[student] = budget.jobs(head[0] for head in heads if head is not None)
        self.found.nll = {
            stop: self.records.nll(run, epoch) for stop, (run, epoch) in stops.items()
        }
        why = [self._set_aside(student) for student in self.alive]
        why += self._afford_first()
        known = {f"{teacher} {stop}": nll for (teacher, stop), nll in self.found.nll.items()}
        self._decide(known, why)
        return True

    def _set_aside(self, student: str) -> str:
        """Those of a student whose teachers say the least; what is said of it."""
        here = {one.stop for one in self.alive[student]}
        cut = rule.cut({stop: nll for stop, nll in self.found.nll.items() if stop in here})
        probes = [self._first_of(student, stop) for stop in cut.probed]
        out = [
            one
            for one in self.alive[student]
            if one.stop in (*cut.probed, *cut.aside) and one not in probes
        ]
        self.aside[student] = out
        self.alive[student] = [one for one in self.alive[student] if one not in out]
        if not out:
            return f"{student}: none is set aside"
        tried = " and ".join(str(one.option) for one in probes)
        return (
            f"{student}: {len(cut.kept)} stops with the lowest NLL teach, {len(out)} cells of the "
            f"others are set aside; {tried} test whether that is right"
        )

    def _by_students(self) -> bool:
        """Drop cells after each seed; False while a round is due."""
        for number, seed in enumerate(self.seeds):
            running = {s: alive for s, alive in self.alive.items() if len(alive) > 1 or not number}
            if not running:
                break
            if not self._train(STUDENTS, running, seed):
                return False
            if not number and (back := self._called_back()):
                self._decide(self._means(running), [w for w, _ in back.values()])
                recalled = {student: ones for student, (_, ones) in back.items()}
                if not self._train(RECALLED, recalled, seed):
                    return False
                for student, ones in recalled.items():
                    everyone = [*self.alive[student], *ones]
                    self.alive[student] = sorted(everyone, key=lambda one: one.place)
            following = self.seeds[number + 1] if number + 1 < len(self.seeds) else None
            known = self._means(running)
            why = [self._drop(student, following) for student in running]
            self._decide(known, why)
        for student, alive in self.alive.items():
            self.found.winners[student] = alive[0].option
        return True

    def _called_back(self) -> dict[str, tuple[str, list[Candidate]]]:
        """By student, those that were set aside and should not have been; and what is said."""
        found = {}
        for student, out in self.aside.items():
            seen = {one.stop: one for one in reversed(self.alive[student])}
            stops = [stop for stop in seen if stop in self.found.nll]
            errors = [self.found.mean(self._first_of(student, stop).option) for stop in stops]
            held = rule.correlation([self.found.nll[stop] for stop in stops], errors)
            if len(stops) >= rule.FEWEST_STOPS:
                self.found.correlations[student] = held
            if out and not rule.holds(held):
                out = self._affordable(student, out, self.seeds[0], self.alive[student])
                said = f"{held:.2f}" if math.isfinite(held) else "not defined"
                found[student] = (
                    f"{student}: the NLL of its teachers and its errors have a rank correlation "
                    f"of {said} at seed {self.seeds[0]}, below {rule.HOLDS:g}: what was set aside "
                    "competes after all",
                    out,
                )
        return {student: one for student, one in found.items() if one[1]}

    def _drop(self, student: str, following: int | None) -> str:
        """Leave those of a student that go on, best first; what is said of it."""
        alive = self.alive[student]
        means = {one: self.found.mean(one.option) for one in alive}
        if following is None:
            self.alive[student] = rule.ordered(means)[:1]
            return f"{student}: there are no more seeds to choose by"
        left = rule.best(means)
        paid = self._affordable(student, left, following)
        self.alive[student] = paid or left[:1]
        count = len(self.alive[student])
        if count < len(left):
            return f"{student}: the budget pays for {count} of {len(left)} that would go on"
        return f"{student}: the best {count} of {len(alive)} on validation"

    def _of_winners(self) -> None:
        """Train the winners with fresh seeds, and their scratch runs."""
        winners = {student: alive[:1] for student, alive in self.alive.items()}
        cells = [alive[0].cells[seed] for alive in winners.values() for seed in self.fresh]
        self.found.asked.add_cells(cells)
        runs = [cell.run for cell in cells] + [self.plan.scratch_of(cell) for cell in cells]
        asked = [alive[0].option for alive in winners.values()]
        if self._begin(FRESH, self.fresh, asked, runs):
            self._decide({}, [])

    def _train(self, what: str, who: dict[str, list[Candidate]], seed: int) -> bool:
        ones = [one for alive in who.values() for one in alive]
        cells = [one.cells[seed] for one in ones]
        self.found.asked.add_cells(cells)
        for student, alive in who.items():
            taught = budget.jobs(one.cells[seed].run for one in alive)
            self.spent.setdefault(student, {}).update(taught)
        if not self._begin(what, [seed], [one.option for one in ones], (c.run for c in cells)):
            return False
        for one in ones:
            error = self.records.error(one.cells[seed].run)
            self.found.errors.setdefault(one.option, {})[seed] = error
        return True

    def _begin(self, what: str, seeds: list[int], asked: list[Option], runs: Iterable[Run]) -> bool:
        """Begin a round; whether all its runs have ended.

        It also trains what is sure to be wanted, the scratch runs of a fresh seed: they keep cores
        at work when the round comes to its end.
        """
        runs = list(runs)
        names = frozenset(run.name for run in runs)
        number = len(self.found.rounds) + 1
        self.found.rounds.append(Round(number, what, tuple(seeds), tuple(asked), names))
        if number <= len(self.fresh):
            sure = [self._scratch(student, self.fresh[number - 1]) for student in self.alive]
            self.found.asked.scratch |= {run.name for run in sure}
        wanted = self.found.asked.checkpoints
        if not all(self.records.ended(run, wanted.get(run.name, ())) for run in runs):
            return False
        self.made |= budget.jobs(runs).keys()
        return True

    def _decide(self, known: dict[str, float], why: list[str]) -> None:
        kept = tuple(one.option for alive in self.alive.values() for one in alive)
        said = {"known": known, "kept": kept, "why": tuple(why)}
        self.found.rounds[-1] = replace(self.found.rounds[-1], decided=True, **said)

    def _affordable(
        self, student: str, ones: list[Candidate], seed: int, rivals: list[Candidate] | None = None
    ) -> list[Candidate]:
        """As many of these, from the first, as the budget pays for with a seed.

        rivals: who competes already and has this seed.
        """
        seeds = self.seeds[self.seeds.index(seed) :]
        spent = self.spent.get(student, {})
        scratch = [self._scratch(student, seed) for seed in self.fresh]
        return budget.affordable(self._limits(), ones, rivals or [], spent, seeds, scratch)

    def _limits(self) -> list[budget.Limit]:
        """What limits each student, by what is known."""
        known = self.records.of(self.made) if self.search.hours else {}
        hours = budget.hours(self.plan, known)
        return budget.limits(self.search, len(self.alive), hours, self.too_slow)

    def _afford_first(self) -> list[str]:
        """Leave of each student what its budget pays for at first; what is said of it."""
        said = []
        for student, alive in self.alive.items():
            known = {one: self.found.nll.get(one.stop, 0.0) for one in alive}
            paid = self._affordable(student, rule.ordered(known), self.seeds[0])
            count = len(paid)
            if not paid:  # of hours that is not known before
                paid = [budget.cheapest(self._limits(), rule.ordered(known), self.seeds[0])]
            self.found.unpaid |= {one.option for one in alive if one not in paid}
            self.alive[student] = [one for one in alive if one in paid]
            if count < len(alive):
                said.append(f"{student}: the budget pays for {count} of {len(alive)} at first")
            if not count:
                said[-1] += f"; the cheapest, {paid[0].option}, goes on all the same"
        return said

    def _scratch(self, student: str, seed: int) -> Run:
        return self.plan.scratch[student, seed, self.study.splits[0]]

    def _first_of(self, student: str, stop: tuple[str, str]) -> Candidate:
        """The cell that stands for a stop."""
        return next(one for one in self.found.competing[student] if one.stop == stop)

    def _means(self, who: dict[str, list[Candidate]]) -> dict[str, float]:
        return {
            f"{student}: {one.option}": self.found.mean(one.option)
            for student in who
            for one in self.alive[student]
        }

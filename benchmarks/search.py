"""Which rule finds the best cell for the least? Replayed on full grids, and on simulated ones.

    python benchmarks/search.py                       # both, and the confidence; ten minutes
    python benchmarks/search.py --studies 100         # fewer simulated studies
    python benchmarks/search.py --replay STUDY RECORDS  # a grid of your own: its records

It writes the tables of benchmarks/search.md. A grid is replayed from its records: a rule sees the
validation errors of some cells at some seeds, in an order of the seeds that is drawn, and chooses a
cell. Its regret is the test error of that cell less that of the best cell, both over seeds that no
rule has used (two of five, three of eight). The price is the student-epochs that it trained, those
of the winner with the unused seeds included, as a share of the whole grid's; of real grids also the
hours that the runs took by their records, teachers included. Where the whole grid of the used seeds
would have chosen no better, the fault is not the rule's: so what counts is the excess over its
regret.
"""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from kdpipe.analysis.dataframe import UNTRAINED_STOP
from kdpipe.analysis.search import elimination_rule, search_space
from kdpipe.analysis.search.rounds import SearchRecords
from kdpipe.config import load
from kdpipe.config.schema import SearchConfig
from kdpipe.plan import planner
from kdpipe.runs.store import Store
from kdpipe.stats import posterior

ROOT = Path(__file__).parent.parent
PUBLISHED = {
    "fashion_mnist": "studies/fashion_mnist.yaml",
    "digits": "studies/digits_first.yaml",
    "digits_methods": "studies/digits_methods.yaml",
    "digits_grid": "studies/digits_grid.yaml",
}
ORDERS = 1000
TABLES = "<!-- what follows is written by search.py -->\n"
ALPHA = 0.1  # of the sequential test, for all seeds together


@dataclass(frozen=True)
class Hours:
    """What the runs of a grid took. Of each cell and seed: itself, and its teacher's number."""

    own: np.ndarray  # (cells, seeds), with what is distilled on the way to it
    head: np.ndarray  # (cells, seeds), a place in `heads`
    heads: np.ndarray  # of each teacher's whole training; the last place is that of none
    part: np.ndarray  # (cells,), how much of it lies before the stop

    def ordered(self, order: list[int]) -> "Hours":
        return replace(self, own=self.own[:, order], head=self.head[:, order])

    def of(self, trained: np.ndarray, at_first: bool) -> tuple[float, float]:
        """Of cells (cells, seeds) that were trained; and if teachers ended at their last stop.

        at_first: whether all teachers of the first seed are trained.
        """
        reached = np.zeros(len(self.heads))
        reached[self.head[trained]] = 1
        until = np.zeros(len(self.heads))
        np.maximum.at(until, self.head[trained], self.part[np.nonzero(trained)[0]])
        if at_first:
            reached[self.head[:, 0]] = until[self.head[:, 0]] = 1
        own = self.own[trained].sum()
        return own + reached @ self.heads, own + until @ self.heads


@dataclass(frozen=True)
class Grid:
    """Errors of every cell at every seed, in points. `nll`: of its teacher at each seed."""

    name: str
    val: np.ndarray  # (cells, seeds)
    test: np.ndarray  # the same; of a simulated grid the true errors, in one column
    nll: np.ndarray  # (cells, seeds), nan where it is not known
    stop: np.ndarray  # (cells,), a number for each teacher at its stop
    price: np.ndarray  # (cells,), student-epochs of one seed
    held: int  # seeds that no rule uses
    hours: "Hours | None" = None  # None of a simulated one
    method: tuple[str, ...] = ()  # of each cell of a real one

    def ordered(self, order: list[int]) -> "Grid":
        """The seeds in another order."""
        return replace(
            self,
            val=self.val[:, order],
            test=self.test if self.test.shape[1] == 1 else self.test[:, order],
            nll=self.nll[:, order],
            hours=self.hours and self.hours.ordered(order),
        )

    @property
    def used(self) -> int:
        return self.val.shape[1] - self.held

    def truth(self) -> np.ndarray:
        """The errors by which a choice is judged, (cells,)."""
        return (
            self.test[:, -self.held :].mean(axis=1) if self.test.shape[1] > 1 else self.test[:, 0]
        )


Rule = Callable[[Grid], tuple[int, np.ndarray]]  # the cell chosen, and what was seen


# --- rules


def uniform(grid: Grid, seeds: int | None = None) -> tuple[int, np.ndarray]:
    """Every cell with so many seeds; None: with all."""
    seen = np.zeros(grid.val.shape, bool)
    seen[:, : seeds or grid.used] = True
    return _best(grid, seen), seen


def elimination(
    grid: Grid, share: float | Fraction, first: int = 1, cut: float = 1.0, tested: bool = True
) -> tuple[int, np.ndarray]:
    """A share of the cells goes on after each seed, the first time after `first` of them.

    cut: the share of teachers' stops that teach at all, by their NLL; tested: whether it is.
    """
    seen = np.zeros(grid.val.shape, bool)
    alive = _cut(grid, cut, tested, seen)
    for n in range(grid.used):
        seen[alive, n] = True
        if n + 1 < first:
            continue
        keep = math.ceil(int(alive.sum()) * share)
        alive = _lowest(grid, alive, n + 1, keep)
        if keep == 1:
            break
    return _best(grid, seen, alive), seen


def sequential(grid: Grid, cut: float = 1.0) -> tuple[int, np.ndarray]:
    """A cell goes when a paired t test against the leader finds it worse.

    The variance is pooled over cells; the level is what a spending function t^2 of ALPHA leaves.
    """
    seen = np.zeros(grid.val.shape, bool)
    alive = _cut(grid, cut, True, seen)
    for n in range(1, grid.used + 1):
        seen[alive, n - 1] = True
        here = grid.val[alive, :n]
        if n > 1 and alive.sum() > 1:
            left = here - here.mean(0) - here.mean(1, keepdims=True) + here.mean()
            free = (alive.sum() - 1) * (n - 1)
            se = math.sqrt(2 * (left**2).sum() / free / n)
            behind = grid.val[:, :n].mean(axis=1) - here.mean(axis=1).min()
            level = ALPHA * (n / grid.used) ** 2
            alive &= behind <= se * stats.t.isf(level, free)
        if alive.sum() == 1:
            break
    return _best(grid, seen, alive), seen


def top_two(grid: Grid, cut: float = 1.0, share: float = 1 / 8) -> tuple[int, np.ndarray]:
    """Top-two Thompson sampling (Russo, 2020) by the model of kdpipe.stats.posterior.

    Two seeds of a third of the cells first, without which the model knows no noise; then batches of
    as many as four cells that may be the best, each with its next seed, up to a share of the grid.
    """
    rng = np.random.default_rng(0)
    seen = np.zeros(grid.val.shape, bool)
    alive = _cut(grid, cut, True, seen)
    seen[alive, 0] = True
    seen[_lowest(grid, alive, 1, max(2, math.ceil(alive.sum() / 3))), 1] = True
    most = share * grid.price.sum() * grid.val.shape[1]
    while (grid.price @ seen.sum(axis=1)) < most:
        belief = posterior.fit_posterior(np.where(seen, grid.val, np.nan), grid.stop)
        if belief is None:
            break
        requests = set()
        for draw in belief.draw_errors(8, seed=int(rng.integers(1 << 30))):
            requests |= {int(i) for i in np.argsort(draw)[:2]}
        requests = {i for i in requests if seen[i].sum() < grid.used}
        if not requests:
            break
        for i in list(requests)[:4]:
            seen[i, seen[i].sum()] = True
    belief = posterior.fit_posterior(np.where(seen, grid.val, np.nan), grid.stop)
    mean = grid.val[:, 0] if belief is None else belief.mean
    return int(np.argmin(mean)), seen


def _cut(grid: Grid, share: float, tested: bool, seen: np.ndarray) -> np.ndarray:
    """Which cells compete at first; what is trained to test it is seen."""
    nll = {int(s): grid.nll[grid.stop == s][0, 0] for s in dict.fromkeys(grid.stop)}
    nll = {stop: value for stop, value in nll.items() if math.isfinite(value)}
    everyone = np.ones(len(grid.val), bool)
    if share == 1 or not (actual := elimination_rule.screen_stops(nll, share)).probed:
        return everyone
    alive = ~np.isin(grid.stop, [*actual.probed, *actual.set_aside])
    if not tested:
        return alive
    first = {stop: int(np.argmax(grid.stop == stop)) for stop in nll}
    alive[[first[stop] for stop in actual.probed]] = True
    seen[alive, 0] = True
    stops = [*actual.selected, *actual.probed]
    errors = [grid.val[first[stop], 0] for stop in stops]
    if not elimination_rule.is_assumption_met(
        elimination_rule.compute_rank_correlation([nll[stop] for stop in stops], errors)
    ):
        return everyone
    return alive


def _lowest(grid: Grid, alive: np.ndarray, seeds: int, count: int) -> np.ndarray:
    means = np.where(alive, grid.val[:, :seeds].mean(axis=1), np.inf)
    actual = np.zeros(len(alive), bool)
    actual[np.argsort(means, kind="stable")[:count]] = True
    return actual & alive


def _best(grid: Grid, seen: np.ndarray, alive: np.ndarray | None = None) -> int:
    count = seen.sum(axis=1)
    means = np.where(seen, grid.val, 0).sum(axis=1) / np.maximum(count, 1)
    there = (count > 0) if alive is None else alive
    return int(np.argmin(np.where(there, means, np.inf)))


FULL = "the full grid"
CHOSEN = "kdpipe's: best 1/2 after each seed, a third of the stops by NLL, tested"
TWO_FIFTHS = elimination_rule.SURVIVOR_SHARES[2]
SHARE = elimination_rule.SURVIVOR_SHARES[elimination_rule.REVISION]
RULES: dict[str, Rule] = {
    FULL: uniform,
    "1 seed for every cell": partial(uniform, seeds=1),
    "2 seeds for every cell": partial(uniform, seeds=2),
    "best 2/3 after each seed": partial(elimination, share=2 / 3),
    "best 1/2 after each seed": partial(elimination, share=1 / 2),
    "best 1/3 after each seed": partial(elimination, share=1 / 3),
    "best 1/3, first after 2 seeds": partial(elimination, share=1 / 3, first=2),
    "best 1/2, first after 2 seeds": partial(elimination, share=1 / 2, first=2),
    CHOSEN: partial(elimination, share=SHARE, cut=elimination_rule.STOP_SHARE),
    "revision 2: best 2/5, a third of the stops, tested": partial(
        elimination, share=TWO_FIFTHS, cut=1 / 3
    ),
    "the same, not tested": partial(
        elimination,
        share=SHARE,
        cut=elimination_rule.STOP_SHARE,
        tested=False,
    ),
    "best 1/3, a third of the stops, tested": partial(elimination, share=1 / 3, cut=1 / 3),
    "best 2/5, half of the stops, tested": partial(elimination, share=TWO_FIFTHS, cut=1 / 2),
    "best 1/2, half of the stops, tested": partial(elimination, share=1 / 2, cut=1 / 2),
    "best 1/3, first after 2 seeds, a third of the stops, tested": partial(
        elimination, share=1 / 3, first=2, cut=1 / 3
    ),
    "paired sequential test": sequential,
    "paired sequential test, a third of the stops, tested": partial(sequential, cut=1 / 3),
}
MODEL: dict[str, Rule] = {
    "top-two Thompson sampling by the model": top_two,
    "the same, a third of the stops, tested": partial(top_two, cut=1 / 3),
}


# --- grids


def published(path: Path, records: Path) -> list[Grid]:
    """The cells of a study's blocks that have every seed, for each student apart."""
    study = load.load_study(path)
    names = [block.name for block in study.experiments if block.seeds is None]
    plan = planner.build_plan(
        study.model_copy(update={"search": SearchConfig.model_validate({"blocks": names})})
    )
    known = SearchRecords(plan, Store(records))
    lines = Store(records).load_records("runs")
    actual = []
    for student, ones in search_space.collect_arms(plan).items():
        seeds = [s for s in study.due_seeds if all(s in one.cells for one in ones)]
        ones = [o for o in ones if o.key.stop != UNTRAINED_STOP]
        ones = [o for o in ones if all(known.has_ended(o.cells[s].run) for s in seeds)]
        if len(ones) < 6 or len(seeds) < 5:
            continue
        shape = len(ones), len(seeds)
        val, test, nll = np.empty(shape), np.empty(shape), np.full(shape, np.nan)
        own, head, heads = np.empty(shape), np.full(shape, -1), {}
        for i, one in enumerate(ones):
            for j, seed in enumerate(seeds):
                run = one.cells[seed].run
                val[i, j] = known.get_error(run)
                test[i, j] = 100 * (1 - lines[run.name]["last"]["test"]["accuracy"])
                own[i, j] = sum(took(lines[name]) for name in one.get_students([seed]))
                teacher = one.get_teacher(seed)
                if teacher is not None:
                    heads.setdefault(teacher[0].name, (len(heads), took(lines[teacher[0].name])))
                    head[i, j] = heads[teacher[0].name][0]
                if teacher is not None and known.has_ended(teacher[0], [teacher[1]]):
                    nll[i, j] = known.get_nll(*teacher)
        stops = list(dict.fromkeys(one.stop for one in ones))
        stop = np.array([stops.index(one.stop) for one in ones])
        price = np.array(
            [search_space.count_epochs(o.get_students([seeds[0]]).values()) for o in ones], float
        )
        held = 3 if len(seeds) >= 8 else 2
        points = [one.get_teacher(seeds[0]) for one in ones]
        part = np.array([1.0 if p is None else p[1] / max(1, p[0].epochs) for p in points])
        hours = Hours(own, head, np.array([*(t for _, t in heads.values()), 0.0]), part)
        methods = tuple(str(one.key.method) for one in ones)
        name = f"{study.study}, {student}"
        actual.append(Grid(name, val, test, nll, stop, price, held, hours, methods))
    return actual


def took(record: dict) -> float:
    """Hours of a run."""
    return record["seconds"]["total"] / 3600


def simulated(
    rng: np.random.Generator, rank: float, stops=12, methods=5, seeds=8, varied: bool = False
) -> Grid:
    """A grid of known truth; spreads in points, about those of the grids that are here.

    rank: the correlation of a teacher's NLL with its effect. Standard deviations: teachers .8,
    cells .4, seeds .5, teachers at a seed .25, noise .4; varied: a third of the cells is worse by
    about two points and has noise of 2.
    """
    effect, other = rng.normal(size=stops), rng.normal(size=stops)
    nll = np.exp(0.3 * (rank * effect + math.sqrt(1 - rank**2) * other))  # its log is normal
    stop = np.repeat(np.arange(stops), methods)
    true = 0.8 * effect[stop] + 0.4 * rng.normal(size=len(stop))
    noise = np.full(len(stop), 0.4)
    if varied:
        is_worse = rng.random(len(stop)) < 1 / 3
        true, noise = true + is_worse * rng.uniform(1, 3, len(stop)), np.where(is_worse, 2.0, 0.4)
    val = true[:, None] + 0.5 * rng.normal(size=seeds)
    val = val + 0.25 * rng.normal(size=(stops, seeds))[stop]
    val = val + noise[:, None] * rng.normal(size=val.shape)
    every = np.repeat(nll[stop][:, None], seeds, axis=1)
    return Grid("", 20 + val, 20 + true[:, None], every, stop, np.ones(len(stop)), 3)


# --- what comes of it


@dataclass
class Score:
    regrets: list[float]
    excess: list[float]
    prices: list[float]
    hours: list[tuple[float, float]]  # shares of the grid's; the second if teachers ended early

    def row(self, name: str) -> str:
        r, e = np.array(self.regrets), np.array(self.excess)
        actual = np.mean(r <= 1e-9)
        hours = f"{np.mean(self.hours, axis=0)[0]:.3f}" if self.hours else "-"
        return (
            f"| {name} | {np.mean(self.prices):.3f} | {hours} | {r.mean():.2f} | {e.mean():+.3f} | "
            f"{np.quantile(e, 0.95):+.2f} | {e.max():+.2f} | {actual:.0%} |"
        )


HEAD = (
    "| rule | price | hours | regret | excess | 95th percentile | worst | best found |\n"
    "|---|---|---|---|---|---|---|---|"
)


def compared(grids: list[Grid], rules: dict[str, Rule]) -> dict[str, Score]:
    """Every rule on the same grids (of one grid: in the same orders of its seeds)."""
    scores = {name: Score([], [], [], []) for name in rules}
    for grid in grids:
        truth, all_of_it = grid.truth(), grid.price.sum() * grid.val.shape[1]
        base = truth[uniform(grid)[0]] - truth.min()
        for name, one in rules.items():
            chosen, seen = one(grid)
            regret = truth[chosen] - truth.min()
            paid = grid.price @ seen.sum(axis=1)
            paid += 0 if name == FULL else grid.price[chosen] * grid.held
            scores[name].regrets.append(regret)
            scores[name].excess.append(regret - base)
            scores[name].prices.append(paid / all_of_it)
            if grid.hours is not None:
                trained = seen.copy()
                trained[chosen, -grid.held :] |= name != FULL
                cuts = getattr(one, "keywords", {}).get("cut", 1) < 1
                whole, _ = grid.hours.of(np.ones_like(seen), False)
                paid, until = grid.hours.of(trained, cuts)
                scores[name].hours.append((paid / whole, until / whole))
    return scores


def orders(grid: Grid, count: int = ORDERS) -> list[Grid]:
    """The grid in orders of its seeds: all there are, or so many that are drawn."""
    seeds = grid.val.shape[1]
    if math.factorial(seeds) <= count:
        return [grid.ordered(list(one)) for one in itertools.permutations(range(seeds))]
    rng = np.random.default_rng(0)
    return [grid.ordered(list(rng.permutation(seeds))) for _ in range(count)]


def confidence(studies: int, rank: float, varied: bool = False) -> str:
    """How often the best was one of the cells that hold it by the model, 9 times of 10.

    The model is the one that a search uses: with the logarithm of the teachers' NLL.
    """
    rng = np.random.default_rng(1)
    true, stated, first = [], [], []
    for _ in range(studies):
        grid = simulated(rng, rank, varied=varied)
        chosen, seen = RULES[CHOSEN](grid)
        belief = posterior.fit_posterior(
            np.where(seen, grid.val, np.nan), grid.stop, np.log(grid.nll[:, 0])
        )
        if belief is None:
            continue
        draws = belief.draw_errors(5_000)
        likely = posterior.find_likely_best(draws)
        true.append(int(grid.truth().argmin()) in likely)
        stated.append(len(likely))
        first.append((posterior.compute_p_best(draws)[chosen], chosen == grid.truth().argmin()))
    share, n = float(np.mean(true)), len(true)
    low, high = stats.binomtest(sum(true), n).proportion_ci(method="wilson")
    label = f"{rank:g}{', noise that differs' * varied}"
    p_best, is_best = np.mean(first, axis=0)
    return (
        f"| {label} | {n} of {studies} | {np.mean(stated):.1f} | {share:.1%} ({low:.1%} to "
        f"{high:.1%}) | {p_best:.0%} | {is_best:.0%} |"
    )


def table(scores: dict[str, Score]) -> str:
    return "\n".join([HEAD, *(score.row(name) for name, score in scores.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000, help="simulated ones; default: 1000")
    parser.add_argument("--replay", nargs=2, type=Path, metavar=("STUDY", "RECORDS"))
    options = parser.parse_args()
    if options.replay:
        for grid in published(*options.replay):
            print(f"## {grid.name}: {len(grid.val)} cells, {grid.val.shape[1]} seeds\n")
            print(table(compared(orders(grid), RULES | MODEL)))
        return
    began, written = time.monotonic(), ROOT / "benchmarks/search.md"
    parts = [written.read_text().partition(TABLES)[0] + TABLES]
    for name, path in PUBLISHED.items():
        for grid in published(ROOT / path, ROOT / "reports/published" / name):
            replays = orders(grid)
            scores = compared(replays, RULES)
            paid, until = np.mean(scores[CHOSEN].hours, axis=0)
            parts.append(
                f"## {grid.name}: {len(grid.val)} cells, {grid.val.shape[1]} seeds, of which "
                f"{grid.held} judge; {len(replays)} orders\n\n{table(scores)}\n\n"
                "(Were each teacher only trained as far as the last stop that is asked of it, "
                f"kdpipe's rule took {until:.4f} of the hours instead of {paid:.4f}.)\n"
            )
    for rank, varied in ((0.95, False), (0.8, False), (0.0, False), (0.8, True)):
        rng = np.random.default_rng(0)
        grids = [simulated(rng, rank, varied=varied) for _ in range(options.studies)]
        some = compared(grids, RULES)
        few = compared(grids[: options.studies // 10], {FULL: uniform} | MODEL)
        few.pop(FULL)
        parts.append(
            f"## Simulated: {options.studies} studies of 60 cells and 8 seeds, of which 3 judge "
            f"nothing; NLL and teacher correlate by {rank:g}"
            f"{', and a third of the cells is worse and noisier' * varied}\n\n"
            f"{table(some | few)}\n\n"
            f"(Thompson sampling: the first {options.studies // 10} of them.)\n"
        )
    rows = [confidence(options.studies, rank) for rank in (0.95, 0.8, 0.0)]
    rows.append(confidence(options.studies, 0.8, varied=True))
    parts.append(
        "## The confidence that is stated: the cells that hold the best with 90 %\n\n"
        "| correlation | studies | cells, mean | true in | P(the chosen one is best) | true in |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    written.write_text("\n".join(parts))
    print(f"benchmarks/search.md, in {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Does the NLL of teachers tell more if each method has a slope of its own?

    python benchmarks/search_slopes.py                # writes search_slopes.md, half an hour
    python benchmarks/search_slopes.py --studies 30   # fewer simulated studies, fewer orders

A search sees some cells with some seeds. Its model (`kdpipe.stats.posterior`) has one slope of the
logarithm of a teacher's NLL for all methods. Here the same model is fitted with a slope for each
method, shrunk towards the common one: the deviations are normal effects, whose variance is found by
the same weighted likelihood as the others. The cells that share a method then depend on each other
across teachers, so the covariance is one dense matrix, which is why kdpipe's own module is not used
for either. Both are fitted to what the rule of a search has seen, and judged by

- *error, all cells* and *unseen cells*: root mean square of predicted minus actual error, in
  points, both centred. Actual are the true errors of a simulated grid, and of a published one the
  validation errors of the seeds that the rule did not use;
- *cells* that hold the best with 90 %, and how often that is *true* (simulated grids).
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import search
from scipy import optimize, stats

from kdpipe.stats import posterior

WRITTEN = Path(__file__).parent / "search_slopes.md"
TABLES = "<!-- what follows is written by search_slopes.py -->\n"
MODELS = {
    "without NLL": (False, False),
    "one slope": (True, False),
    "slopes by method": (True, True),
}
N_DRAWS = 5_000


@dataclass(frozen=True)
class Case:
    """A grid, which cells its rule has seen, and the method of each cell."""

    grid: search.Grid
    seen: np.ndarray
    method: np.ndarray
    truth: np.ndarray


def fit(case: Case, has_slope: bool, by_method: bool) -> posterior.Posterior:
    """Fit the model to what was seen, with dense matrices."""
    y, stop = case.grid.val, case.grid.stop
    x = np.log(case.grid.nll[:, 0])
    x = np.nan_to_num((x - np.nanmean(x)) / np.nanstd(x))
    cell, seed = np.nonzero(case.seen)
    used = np.flatnonzero(case.seen.any(axis=0))
    fixed = (seed[:, None] == used).astype(float)
    if has_slope:
        fixed = np.column_stack([fixed, x[cell]])
    same_stop = (stop[cell][:, None] == stop[cell]).astype(float)
    same_cell = (cell[:, None] == cell).astype(float)
    same_method = (case.method[cell][:, None] == case.method[cell]) * np.outer(x[cell], x[cell])
    structures = [same_stop, same_cell, same_stop * (seed[:, None] == seed), np.eye(len(cell))]
    if by_method:
        structures.append(same_method)
    values = y[cell, seed]
    left = values - fixed @ np.linalg.lstsq(fixed, values)[0]
    scale = max(float(np.var(left)), 1e-12)

    def cost(logs: np.ndarray) -> float:
        covariance = np.tensordot(scale * np.exp(logs), structures, 1)
        lower = np.linalg.cholesky(covariance + 1e-9 * scale * np.eye(len(cell)))
        solved = np.linalg.solve(lower, np.column_stack([fixed, values]))
        products = solved.T @ solved
        precision, with_values = products[:-1, :-1], products[:-1, -1]
        squares = products[-1, -1] - with_values @ np.linalg.solve(precision, with_values)
        log_det = 2 * np.log(np.diag(lower)).sum() + np.linalg.slogdet(precision)[1]
        return float((log_det + squares - logs.sum()) / 2)

    lowest = np.log(posterior.MIN_VARIANCE_SHARE)
    start = np.full(len(structures), np.log(0.25))
    result = optimize.minimize(
        cost, start, method="L-BFGS-B", bounds=[(lowest, 5.0)] * len(structures)
    )
    variances = scale * np.exp(result.x)
    inverse = np.linalg.inv(np.tensordot(variances, structures, 1))
    spread = np.linalg.pinv(fixed.T @ inverse @ fixed)
    level = spread @ fixed.T @ inverse @ values
    every = np.arange(len(y))
    prior = variances[0] * (stop[:, None] == stop) + variances[1] * np.eye(len(y))
    cross = variances[0] * (stop[:, None] == stop[cell]) + variances[1] * (every[:, None] == cell)
    if by_method:
        prior = prior + variances[4] * (case.method[:, None] == case.method) * np.outer(x, x)
        shared = case.method[:, None] == case.method[cell]
        cross = cross + variances[4] * shared * np.outer(x, x[cell])
    own = np.zeros((len(y), fixed.shape[1]))
    if has_slope:
        own[:, -1] = x
    gain = cross @ inverse
    design = own - gain @ fixed
    mean = own @ level + gain @ (values - fixed @ level)
    covariance = prior - gain @ cross.T + design @ spread @ design.T
    return posterior.Posterior(
        mean, (covariance + covariance.T) / 2, np.zeros_like(prior), len(values) - fixed.shape[1]
    )


def judge(cases: list[Case], is_known: bool) -> str:
    """Return a table of the models on the same cases."""
    lines = [
        "| model | studies | error, all cells | unseen cells | cells of 90 % | true in |",
        "|---|---|---|---|---|---|",
    ]
    errors = {}
    for name, (has_slope, by_method) in MODELS.items():
        every, unseen, counts, true = [], [], [], []
        for case in cases:
            fitted = fit(case, has_slope, by_method)
            left = fitted.mean - case.truth
            left = left - left.mean()
            every.append((left**2).mean())
            hidden = ~case.seen.any(axis=1)
            unseen.extend(left[hidden] ** 2)
            likely = posterior.find_likely_best(fitted.draw_errors(N_DRAWS))
            counts.append(len(likely))
            true.append(int(case.truth.argmin()) in likely)
        errors[name] = np.array(every)
        hits = stats.binomtest(int(sum(true)), len(true)).proportion_ci(method="wilson")
        told = f"{np.mean(true):.1%} ({hits.low:.1%} to {hits.high:.1%})" if is_known else "-"
        of_unseen = f"{np.sqrt(np.mean(unseen)):.3f}" if unseen else "-"
        lines.append(
            f"| {name} | {len(cases)} | {np.sqrt(np.mean(every)):.3f} | {of_unseen} | "
            f"{np.mean(counts):.1f} | {told} |"
        )
    gain = np.sqrt(errors["one slope"]) - np.sqrt(errors["slopes by method"])
    half = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
    lines.append(
        f"\nOne slope less slopes by method, error of all cells, paired: {gain.mean():+.4f}"
        + (f" ± {half:.4f} points." if is_known else " points over orders of the same seeds.")
    )
    return "\n".join(lines)


def simulate(count: int, rank: float, differ: float) -> list[Case]:
    """Simulated grids; `differ`: standard deviation of a method's slope, in points."""
    rng = np.random.default_rng(7)
    cases = []
    for _ in range(count):
        grid = search.simulated(rng, rank)
        methods = len(grid.stop) // len(set(grid.stop))
        method = np.tile(np.arange(methods), len(set(grid.stop)))
        x = np.log(grid.nll[:, 0]) / 0.3  # of variance 1
        own = differ * rng.normal(size=methods)[method] * x
        grid = search.replace(grid, val=grid.val + own[:, None], test=grid.test + own[:, None])
        _, seen = search.RULES[search.CHOSEN](grid)
        cases.append(Case(grid, seen, method, grid.test[:, 0]))
    return cases


def replay(name: str, count: int) -> list[tuple[str, list[Case]]]:
    """Replays of a published study, for each student that has two methods and four stops."""
    told = []
    path = search.ROOT / search.PUBLISHED[name]
    for grid in search.published(path, search.ROOT / "reports/published" / name):
        stops_with_nll = set(grid.stop[np.isfinite(grid.nll[:, 0])])
        if len(set(grid.method)) < 2 or len(stops_with_nll) < 4:
            continue  # the model has no slope then
        cases = []
        for ordered in search.orders(grid, count)[:count]:
            _, seen = search.RULES[search.CHOSEN](ordered)
            if (seen[:, seen.sum(axis=0) >= 2].sum(axis=1) >= 2).sum() < 2:
                continue
            truth = ordered.val[:, -ordered.held :].mean(axis=1)
            cases.append(Case(ordered, seen, np.asarray(grid.method), truth))
        if cases:
            told.append((f"{grid.name}: {len(grid.val)} cells, {len(cases)} orders", cases))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=300, help="simulated ones; default: 300")
    options = parser.parse_args()
    began, parts = time.monotonic(), []
    for name in search.PUBLISHED:
        for title, cases in replay(name, options.studies):
            parts.append(f"## {title}\n\n{judge(cases, is_known=False)}\n")
    for rank, differ in ((0.95, 0.0), (0.8, 0.0), (0.8, 0.3), (0.0, 0.0)):
        title = f"## Simulated: NLL and teacher correlate by {rank:g}" + (
            f", slopes of methods differ by {differ:g} points" * (differ > 0)
        )
        parts.append(
            f"{title}\n\n{judge(simulate(options.studies, rank, differ), is_known=True)}\n"
        )
    head = WRITTEN.read_text().partition(TABLES)[0] if WRITTEN.exists() else ""
    WRITTEN.write_text(head + TABLES + "\n".join(parts))
    print(f"{WRITTEN.name}, in {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

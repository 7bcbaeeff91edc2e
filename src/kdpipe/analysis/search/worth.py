"""What a search can find out, before its first run: how often it chooses the best of its cells.

The search is played many times on cells of a known truth: effects of teachers at their stops, of
cells, and noise of single runs, all normal. After each seed the share of cells goes on that the
rule lets go on. No stop is set aside, which at best saves money. How far cells lie apart and how
much a run varies is that of a pilot, or about that of the published grids: there the noise of a run
falls with the root of the number of validation images, from .9 points with 400 to .4 with 2,000.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kdpipe.analysis.search import elimination_rule
from kdpipe.analysis.search.state import SearchState
from kdpipe.config.schema import Study
from kdpipe.runs.store import Store

N_STUDIES = 1_000
MIN_P_CLOSE = 0.5  # a search pays if it is more often than this within the smallest effect
MORE_IMAGES = 4  # times as many, by which it might pay
# Of the published grids, in points; the last two times the root of the number of images.
TEACHER_SD, CELL_SD, RUN_SCALE, IMAGE_SCALE = 0.5, 0.4, 18.0, 5.0


@dataclass(frozen=True)
class SearchSpread:
    """How far cells lie apart and how much is seen of it, as standard deviations in points.

    Attributes
    ----------
    teacher, cell : float
        Of teachers at their stops, and of the cells of one.
    run : float
        Of a single run.
    images : float
        Of a cell on these validation images, in all seeds alike.
    source : str
        Where it is from, in words.
    """

    teacher: float
    cell: float
    run: float
    images: float
    source: str

    def with_images(self, factor: float) -> "SearchSpread":
        """Return the spread with that many times as many validation images."""
        scale = 1 / math.sqrt(factor)
        return replace(self, run=self.run * scale, images=self.images * scale)


def assume_spread(n_validation: int, sd: float | None = None) -> SearchSpread:
    """Return the spread of the published grids, for a number of validation images.

    Parameters
    ----------
    n_validation : int
        Number of validation images.
    sd : float, optional
        Standard deviation over seeds of a paired difference, where it is known.

    Returns
    -------
    SearchSpread
        The spread.
    """
    root = math.sqrt(max(n_validation, 1))
    run = RUN_SCALE / root if sd is None else sd / math.sqrt(2)
    known = "" if sd is None else f", but a paired difference with an sd of {sd:g}"
    source = f"a spread as in the published grids with {n_validation:,} validation images{known}"
    return SearchSpread(TEACHER_SD, CELL_SD, run, IMAGE_SCALE / root, source)


def estimate_pilot_spread(
    name: str, folder: Path, store: Store, study: Study
) -> SearchSpread | None:
    """Estimate the spread from the validation errors of a pilot's students, by the study's metric.

    Parameters
    ----------
    name : str
        Name of the pilot.
    folder : Path
        Folder of the study's file.
    store : Store
        The results folder.
    study : Study
        The study that the pilot is for.

    Returns
    -------
    SearchSpread or None
        That of the student with the most cells; None if no two cells have two seeds.

    Raises
    ------
    KdpipeError
        If the pilot has no file, or is blinded.
    """
    import numpy as np  # only with --pilot, which reads records
    import pandas as pd

    from kdpipe.analysis import contest, dataframe, eval_point
    from kdpipe.analysis.per_image import PerImageMetrics
    from kdpipe.analysis.preregistration import registration
    from kdpipe.stats import posterior, replicates
    from kdpipe.stats.image_spread import find_image_spread

    plan = registration.load_pilot(name, folder, store, study)
    pilot = plan.study
    frame = eval_point.select_eval_point(dataframe.build_results_frame(plan, store), pilot.reading)
    students = contest.select_terminal_students(dataframe.normalize_frame(frame))
    outcomes = PerImageMetrics(plan, store, pilot.reading).load_part
    n_validation = plan.card.count_validation(pilot.data.validation)
    fits = []
    for _, rows in dataframe.group_rows(students, "student"):
        by_image = dataframe.add_image_provenance(rows, "val_error")
        errors = dataframe.pivot_by_seed(by_image, *contest.OPTION_COLUMNS, column="val_error")
        teachers = [key[:2] for key in errors.columns]
        codes = pd.factorize(pd.Series(teachers, dtype=object))[0]
        images = find_image_spread(errors, teachers, outcomes, n_validation)
        splits = replicates.get_splits(errors.index)
        model = posterior.fit_posterior(
            errors.to_numpy(float).T, codes, images=images, splits=splits
        )
        if model is not None and model.spread is not None:
            run = float(np.sqrt(np.median(np.diag(model.noise))))
            fits.append((errors.shape[1], model.spread, run, images))
    if not fits:
        return None
    _, spread, run, images = max(fits, key=lambda fit: fit[0])
    teacher, cell = math.sqrt(spread.teacher), math.sqrt(spread.cell)
    return SearchSpread(teacher, cell, run, math.sqrt(images.total), f"the spread of {name}")


def simulate_search(
    cells_of_stops: list[int],
    seeds: int,
    spread: SearchSpread,
    smallest_effect: float,
    whole: bool = False,
    revision: int = elimination_rule.REVISION,
) -> tuple[float, float]:
    """Simulate how often a search chooses the best cell, and one that is nearly as good.

    Parameters
    ----------
    cells_of_stops : list of int
        Number of cells of each teacher at a stop.
    seeds : int
        Number of seeds that choose.
    spread : SearchSpread
        The spread.
    smallest_effect : float
        In points.
    whole : bool
        Whether every cell is trained with every seed, as in a grid.
    revision : int
        Revision of the rule.

    Returns
    -------
    p_best, p_close : float
        The share of `N_STUDIES` searches, always the same ones, that choose the best cell, and one
        within the smallest effect of it.
    """
    import numpy as np  # only where there is a search

    rng = np.random.default_rng(0)
    stop = np.repeat(np.arange(len(cells_of_stops)), cells_of_stops)
    shape = (N_STUDIES, len(stop))
    true = spread.teacher * rng.normal(size=(N_STUDIES, len(cells_of_stops)))[:, stop]
    true = true + spread.cell * rng.normal(size=shape)
    seen = true + spread.images * rng.normal(size=shape)
    total = np.zeros(shape)
    alive = len(stop)
    for n in range(1, seeds + 1):
        total = total + seen + spread.run * rng.normal(size=shape)
        if whole:
            continue
        alive = elimination_rule.count_survivors(alive, revision)
        order = np.argsort(total / n, axis=1)
        np.put_along_axis(total, order[:, alive:], np.inf, axis=1)
        if alive == 1:
            break
    regret = np.take_along_axis(true, total.argmin(axis=1)[:, None], 1)[:, 0] - true.min(axis=1)
    return float((regret <= 0).mean()), float((regret <= smallest_effect).mean())


def describe_worth(search_state: SearchState, spread: SearchSpread) -> list[str]:
    """Return what the search of each student can find out, and what would make it worth it.

    Parameters
    ----------
    search_state : SearchState
        The search.
    spread : SearchSpread
        How far cells lie apart, and how much a run varies.

    Returns
    -------
    list of str
        Lines of text.
    """
    study, lines = search_state.plan.study, []
    for student, arms in search_state.competing.items():
        sizes: dict[tuple[str, str], int] = {}
        for arm in arms:
            sizes[arm.stop] = sizes.get(arm.stop, 0) + 1
        lines += _describe_student(student, sizes, study, spread)
    return lines


def _describe_student(
    student: str, sizes: Mapping[tuple[str, str], int], study: Study, spread: SearchSpread
) -> list[str]:
    """Return the lines of one student."""
    counts, seeds, delta = list(sizes.values()), len(study.search_seeds), study.smallest_effect
    revision = elimination_rule.get_revision(study.search.rule if study.search else None)
    p_best, p_close = simulate_search(counts, seeds, spread, delta, revision=revision)
    lines = [
        f"search: with {seeds} seeds that choose, by {spread.source}, it would choose the best of "
        f"the {sum(counts)} cells of {student} with {p_best:.0%}, and one within {delta:g} points "
        f"of it with {p_close:.0%}"
    ]
    if p_close >= MIN_P_CLOSE:
        return lines
    grid = simulate_search(counts, seeds, spread, delta, whole=True)
    more = spread.with_images(MORE_IMAGES)
    images = simulate_search(counts, seeds, more, delta, revision=revision)
    return [
        *lines,
        f"search: that can hardly pay. {MORE_IMAGES} times as many validation images would make it "
        f"{images[0]:.0%} and {images[1]:.0%}, the whole grid with these {seeds} seeds "
        f"{grid[0]:.0%} and {grid[1]:.0%}; else train the few cells that you would bet on as a "
        "grid with more seeds",
    ]

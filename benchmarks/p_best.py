"""Whether P(best) is true: how often the option that is called best with 30 % is the best.

Studies of known truth are drawn, each option of which has an error on the population of images.
Their gaps have the spread of the published grids, as the model finds it there: of Fashion-MNIST
(27 ways from 15 teachers at their stops, here 9 x 3), of its replication with three seeds, of both
grids of the digits, and of their methods (one teacher; a third of the methods is far behind, and
the spread of seeds goes from .7 to 9 points). Runs are drawn image by image: an image is wrong if
its difficulty, with what the teacher, the option and the run find hard in it, is above a threshold
that gives the run its error on the population. So the component of images is estimated as it is in
a report.

    python benchmarks/p_best.py [--studies 400]    # writes benchmarks/p_best.md; six core-minutes

Every option of every study is in the bin of its P(best). Beside it is what resampling the seeds
gave, which knows no other images and no other seeds than these. Options that are all equal have a
table of their own: there is no best one, so the question is how sure the model is of the one it
puts first.
"""

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import special

from kdpipe.stats import posterior
from kdpipe.stats.image_spread import estimate_image_spread

BASE = 15.0  # points
DIFFICULTY, TEACHER_TASTE, TASTE, LUCK = 1.0, 0.05, 0.18, 0.5  # sds of what is hard in an image
TOTAL = math.sqrt(DIFFICULTY**2 + TEACHER_TASTE**2 + TASTE**2 + LUCK**2)
N_DRAWS = 5_000


@dataclass(frozen=True)
class Setting:
    """A kind of study; standard deviations in points."""

    name: str
    teachers: int
    per_teacher: int
    seeds: int
    images: int
    teacher: float
    cell: float
    at_seed: float
    noise: float
    far: bool = False  # whether a third of the options is far behind, and noise differs


SETTINGS = [
    Setting("fashion_mnist", 9, 3, 10, 2000, 1.69, 0.38, 0.39, 0.45),
    Setting("fashion_again", 9, 3, 3, 2000, 1.69, 0.38, 0.39, 0.45),
    Setting("digits", 7, 2, 5, 400, 0.50, 0.27, 0.58, 0.66),
    Setting("digits_grid", 9, 3, 8, 400, 0.51, 0.38, 0.53, 0.89),
    Setting("digits_methods", 1, 39, 5, 400, 0.0, 1.5, 0.0, 1.0, far=True),
]


@dataclass(frozen=True)
class Study:
    """One study: true errors, errors that were measured on validation, and outcomes."""

    true: np.ndarray  # (options,)
    errors: np.ndarray  # (options, seeds)
    wrong: np.ndarray  # (options, seeds, images)
    teachers: np.ndarray  # (options,)


def draw_study(setting: Setting, rng: np.random.Generator) -> Study:
    """Draw a study."""
    s = setting
    teachers = np.repeat(np.arange(s.teachers), s.per_teacher)
    count = len(teachers)
    true = s.teacher * rng.normal(size=s.teachers)[teachers] + s.cell * rng.normal(size=count)
    noise = np.full(count, s.noise)
    if s.far:
        is_far = rng.random(count) < 1 / 3
        true = true + is_far * np.abs(rng.normal(20, 10, count))
        noise = np.exp(rng.uniform(np.log(0.7), np.log(2.0), count)) + is_far * 7
    true = np.clip(BASE + true, 1, 90)
    at = true[:, None] + 0.3 * rng.normal(size=s.seeds)
    at = at + s.at_seed * rng.normal(size=(s.teachers, s.seeds))[teachers]
    at = np.clip(at + noise[:, None] * rng.normal(size=(count, s.seeds)), 0.3, 95)
    threshold = -special.ndtri(at / 100) * TOTAL
    score = DIFFICULTY * rng.standard_normal(s.images, dtype=np.float32)
    score = score + TEACHER_TASTE * rng.standard_normal((s.teachers, s.images))[teachers]
    score = (score + TASTE * rng.standard_normal((count, s.images))).astype(np.float32)
    wrong = np.empty((count, s.seeds, s.images), bool)
    for seed in range(s.seeds):
        luck = LUCK * rng.standard_normal((count, s.images), dtype=np.float32)
        wrong[:, seed] = score + luck > threshold[:, seed, None]
    return Study(true, 100 * wrong.mean(axis=2), wrong, teachers)


def compute_p_best(study: Study) -> tuple[np.ndarray, float]:
    """Return P(best) of each option, as a report has it, and the sd that images add to one."""
    count, seeds, images = study.wrong.shape
    spread = estimate_image_spread(
        list(100 * study.wrong.reshape(-1, images).astype(np.float32)),
        np.repeat(np.arange(count), seeds),
        np.repeat(study.teachers, seeds),
        np.tile(np.arange(seeds), count),
        np.zeros(count * seeds),
        images,
    )
    model = posterior.fit_posterior(study.errors, study.teachers, images=spread)
    assert model is not None
    return posterior.compute_p_best(model.draw_errors(N_DRAWS)), math.sqrt(spread.total)


def resample_seeds(study: Study, rng: np.random.Generator) -> np.ndarray:
    """Return the share of draws of the seeds in which each option comes first."""
    seeds = study.errors.shape[1]
    weights = rng.multinomial(seeds, [1 / seeds] * seeds, size=N_DRAWS) / seeds
    return posterior.compute_p_best(weights @ study.errors.T)


def tabulate(stated: np.ndarray, is_best: np.ndarray) -> list[str]:
    """Return in ten bins how many options, the mean of what is stated, and what was true."""
    cells = []
    for low in np.arange(10) / 10:
        at = (stated >= low) & ((stated < low + 0.1) | (low == 0.9))
        n = int(at.sum())
        if not n:
            cells.append("- | - | -")
            continue
        true = float(is_best[at].mean())
        error = math.sqrt(max(true * (1 - true), 1 / n) / n)
        cells.append(f"{n:,} | {stated[at].mean():.3f} | {true:.3f} ± {error:.3f}")
    return cells


def measure(setting: Setting, studies: int) -> tuple[np.ndarray, ...]:
    """Return for all options of some studies what is stated, what resampling states, the truth."""
    rng = np.random.default_rng([len(setting.name), setting.seeds, setting.images])
    stated, resampled, is_best, sds = [], [], [], []
    for _ in range(studies):
        study = draw_study(setting, rng)
        p, sd = compute_p_best(study)
        stated.append(p)
        sds.append(sd)
        resampled.append(resample_seeds(study, rng))
        is_best.append(np.arange(len(study.true)) == study.true.argmin())
    return np.concatenate(stated), np.concatenate(resampled), np.concatenate(is_best), np.array(sds)


def measure_equal(setting: Setting, studies: int) -> tuple[float, float, float]:
    """Return the mean and the 95th percentile of the largest P(best), and resampling's mean."""
    setting = replace(setting, teacher=0.0, cell=0.0, far=False)
    rng = np.random.default_rng([7, setting.seeds, setting.images])
    drawn = [draw_study(setting, rng) for _ in range(studies)]
    highest = np.array([compute_p_best(study)[0].max() for study in drawn])
    resampled = [resample_seeds(study, rng).max() for study in drawn]
    return highest.mean(), float(np.quantile(highest, 0.95)), float(np.mean(resampled))


def write_tables(studies: int, equal_studies: int) -> str:
    """Return the whole page."""
    lines = [
        "# P(best): whether it is true",
        "",
        "`python benchmarks/p_best.py`: studies of known truth with gaps of the spread of the",
        f"published grids, {studies:,} of each kind, image by image. In each bin: the number of",
        "options, the mean of what is stated, and the share that was the best on the population of",
        "images (± one standard error). *Resampled*: the share of draws of the seeds in which an",
        "option comes first, which stood on the pages before.",
    ]
    every: list[list[np.ndarray]] = [[], [], []]
    for setting in SETTINGS:
        stated, resampled, is_best, sds = measure(setting, studies)
        for column, values in zip(every, (stated, resampled, is_best), strict=True):
            column.append(values)
        options = setting.teachers * setting.per_teacher
        lines += _render(
            f"{setting.name}: {options} options, {setting.seeds} seeds, {setting.images:,} images "
            f"(which add {sds.mean():.2f} points to an option)",
            *(tabulate(values, is_best) for values in (stated, resampled)),
        )
        print(*lines[-14:], sep="\n", flush=True)
    stated, resampled, is_best = map(np.concatenate, every)
    lines += _render("All", *(tabulate(values, is_best) for values in (stated, resampled)))
    lines += [
        "",
        "## Options that are all equal",
        f"The largest P(best) of a study ({equal_studies:,} of each kind).",
        "",
        "| | options | 1 / options | mean | 95th percentile | mean, resampled |",
        "|---|---|---|---|---|---|",
    ]
    for setting in SETTINGS:
        mean, high, resampled_mean = measure_equal(setting, equal_studies)
        options = setting.teachers * setting.per_teacher
        lines.append(
            f"| {setting.name} | {options} | {1 / options:.2f} | {mean:.2f} | {high:.2f} | "
            f"{resampled_mean:.2f} |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def _render(title: str, stated: list[str], resampled: list[str]) -> list[str]:
    """Return the table of one kind of study."""
    lines = ["", f"## {title}", ""]
    lines += ["| bin | options | stated | true | resampled: options | stated | true |"]
    lines += ["|---|---|---|---|---|---|---|"]
    rows = zip(np.arange(10) / 10, stated, resampled, strict=True)
    return lines + [f"| {low:.1f} to {low + 0.1:.1f} | {a} | {b} |" for low, a, b in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--studies", type=int, default=400, help="of each kind")
    parser.add_argument("--equal", type=int, default=100, help="of equal options, of each kind")
    options = parser.parse_args()
    text = write_tables(options.studies, options.equal)
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()

"""How often the test of a chosen option is wrong, by who chose it.

All options are equal, and so is the rival, so every verdict on the difference is false. Each option
of each seed has a true error, a validation error and a test error that know it; the difference of
the chosen to a rival is tested at 2.5 % a side. Options are chosen by two halves of the seeds for
each other, the variance being that within the halves (`select_options`, from five seeds on), or
with each seed left out in turn, as with three and four.

The second table says why halves are not exactly at the level. The option that a half chooses for
the other is the luckier one in the half that chose it, and both halves choose, so their means are
correlated although each is unbiased. Of k equal options, whose validation and test errors have the
correlation rho over seeds, the variance of the mean is larger than what is estimated within the
halves by the factor

    1 + m(k)^2 rho^2 / (k - 1),

where m(k) is the expected largest of k standard normal numbers: at most 1.36, whatever the number
of seeds. Where one option is clearly the best there is no such factor.

    python benchmarks/choices.py [--studies 20000] > benchmarks/choices.md
    python benchmarks/choices.py --why

Half an hour; the second table alone a minute.
"""

import argparse

import numpy as np
import pandas as pd
from scipy import integrate
from scipy import stats as scipy_stats

from kdpipe.stats import intervals
from kdpipe.stats.intervals import select_options, summarize
from kdpipe.stats.t_dist import t_sf

SEEDS = (3, 4, 5, 10, 20)
OPTIONS = (3, 9, 27)
RIVALS = {"quiet": 0.0, "noisy": 1.0}  # sd of the rival's error, that of an option's being 1
VALIDATION = 1.0  # sd of what validation adds to an option's error
RATE = 0.025


def simulate(seeds: int, options: int, noise: float, studies: int, number: int) -> dict:
    """The shares of studies that are wrong, below and above, by who chose."""
    random = np.random.default_rng([number, seeds, options, int(10 * noise)])
    wrong = {"halves": np.zeros(2), "one left out": np.zeros(2)}
    rules = {"halves": intervals.MIN_SEEDS_FOR_HALVES, "one left out": seeds + 1}
    before = intervals.MIN_SEEDS_FOR_HALVES
    for _ in range(studies):
        test = random.normal(0, 1, (seeds, options))
        validation = test + random.normal(0, VALIDATION, test.shape)
        rival = random.normal(0, noise, seeds) if noise else np.zeros(seeds)
        tables = pd.DataFrame(validation), pd.DataFrame(test)
        for rule, minimum in rules.items():
            intervals.MIN_SEEDS_FOR_HALVES = minimum
            choice = select_options(*tables)
            result = summarize(choice.errors - rival, halves=choice.halves)
            p = t_sf(result.mean, result.se, result.df)
            wrong[rule] += [p > 1 - RATE, p < RATE]
        intervals.MIN_SEEDS_FOR_HALVES = before
    return {rule: (counts / studies).tolist() for rule, counts in wrong.items()}


NOISES = {0.5: 1.0, 0.25: 3**0.5}  # by rho^2: sd of what validation adds to an option's error


def compute_factor(options: int, rho_squared: float) -> float:
    """By how much the variance of the mean is larger than that within the halves."""
    largest, _ = integrate.quad(
        lambda x: x * options * scipy_stats.norm.pdf(x) * scipy_stats.norm.cdf(x) ** (options - 1),
        *(-10, 10),
    )
    return 1 + largest**2 * rho_squared / (options - 1)


def measure_halves(seeds: int, options: int, noise: float, studies: int) -> tuple[float, ...]:
    """The same factor and the shares that are wrong, below and above, in simulated studies."""
    random = np.random.default_rng([seeds, options, int(100 * noise)])
    test = random.normal(0, 1, (studies, seeds, options)).astype(np.float32)
    validation = test + random.normal(0, noise, test.shape).astype(np.float32)
    odd, rows = np.arange(seeds) % 2 == 0, np.arange(studies)
    errors = np.empty((studies, seeds), np.float32)
    for half in (odd, ~odd):
        chosen = validation[:, ~half].mean(axis=1).argmin(axis=1)
        errors[:, half] = test[rows, :, chosen][:, half]
    squares = np.zeros(studies)
    for half in (odd, ~odd):
        deviations = errors[:, half] - errors[:, half].mean(axis=1, keepdims=True)
        squares += (deviations**2).sum(axis=1)
    variances = squares / (seeds - 2) / seeds
    mean = errors.mean(axis=1)
    critical = scipy_stats.t.ppf(1 - RATE, seeds - 2) * np.sqrt(variances)
    factor = mean.var() / variances.mean()
    return float(factor), float((mean < -critical).mean()), float((mean > critical).mean())


def print_reason(studies: int) -> None:
    """The second table."""
    print("## Why halves are not exactly at the level\n")
    print(
        "The option that a half chooses for the other is the luckier one in the half that chose\n"
        "it, and both halves choose, so their means are correlated, although each is unbiased. Of\n"
        "k equal options the variance of the mean is larger than what is estimated within the\n"
        "halves, by 1 + m(k)² rho² / (k - 1): m(k) is the expected largest of k standard normal\n"
        "numbers, rho the correlation of validation and test errors over seeds, the option's and\n"
        "the seed's means taken off. The table has that factor, what was measured, and the shares\n"
        f"wrongly called better and worse against a quiet rival ({studies:,} studies a row; 2.5\n"
        "each is stated). In the published studies rho² is .22 to .28 among the options that are\n"
        "near the best. The factor is there only where options are equal: one that is clearly the\n"
        "best is chosen by both halves whatever their luck.\n"
    )
    print("| seeds | options | rho² | factor | measured | wrong |\n|---|---|---|---|---|---|")
    for seeds in SEEDS[2:]:
        for options in (2, *OPTIONS):
            for rho_squared, noise in NOISES.items():
                factor, better, worse = measure_halves(seeds, options, noise, studies)
                print(
                    f"| {seeds} | {options} | {rho_squared:g} | "
                    f"{compute_factor(options, rho_squared):.2f} | {factor:.2f} | "
                    f"{100 * better:.1f} and {100 * worse:.1f} |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--why", action="store_true", help="only the second table")
    parser.add_argument("--studies", type=int, default=20_000, help="in each setting")
    options = parser.parse_args()
    if options.why:
        print_reason(options.studies)
        return
    print("# Choices that pay for themselves\n")
    print(
        "`python benchmarks/choices.py`: how often, in percent of studies, the difference of a\n"
        "chosen option to a rival is wrongly called better (the first number) or worse (the\n"
        f"second), where nothing differs. Stated: {100 * RATE:g} each. {options.studies:,}\n"
        "studies in each setting, so a number is known to ± "
        f"{100 * np.sqrt(RATE * (1 - RATE) / options.studies):.2f}. With three and four seeds\n"
        "each is left out in turn, from five on two halves choose for each other; beside it is\n"
        "what leaving one out would have given.\n"
    )
    print("| seeds | options | rival | as it is done | one left out |\n|---|---|---|---|---|")
    for seeds in SEEDS:
        for count in OPTIONS:
            for rival, noise in RIVALS.items():
                rates = simulate(seeds, count, noise, options.studies, 1)
                cells = [
                    " and ".join(f"{100 * share:.1f}" for share in rates[rule])
                    for rule in ("halves", "one left out")
                ]
                print(f"| {seeds} | {count} | {rival} | {' | '.join(cells)} |", flush=True)
    print()
    print_reason(options.studies)


if __name__ == "__main__":
    main()

"""How often the test of a chosen option is wrong, by who chose it.

All options are equal, and so is the rival, so every verdict on the difference is false. Each option
of each seed has a true error, a validation error and a test error that know it; the difference of
the chosen to a rival is tested at 2.5 % a side. Options are chosen by two halves of the seeds for
each other, the variance being that within the halves (`select_options`, from five seeds on), or
with each seed left out in turn, as with three and four.

    python benchmarks/choices.py [--studies 20000] > benchmarks/choices.md

Some minutes.
"""

import argparse

import numpy as np
import pandas as pd

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


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--studies", type=int, default=20_000, help="in each setting")
    options = parser.parse_args()
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


if __name__ == "__main__":
    main()

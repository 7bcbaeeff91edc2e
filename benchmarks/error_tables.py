"""The tables of error_rates.py in Markdown, from its file of results."""

import math
from collections import Counter

from kdpipe.analysis.claim import load_claims
from kdpipe.stats.group_sequential import compute_alpha_spent
from kdpipe.stats.power import LEVEL

HEAD = """\
# How often a verdict is wrong

`python benchmarks/error_rates.py` draws studies of known truth and judges them by the code that
judges a real one (`benchmarks/simulated.py` has the model, `docs/statistics.md` the rules).
Shares are in percent, with their standard errors, of so many studies as each row says. Stated: at
most 5 % for each family; of a study with looks that is the rate of all its looks together.

Rates of rules 1, by which two published studies were registered, are in
[error_rates_rules_1.md](error_rates_rules_1.md).

- *primary*, *rest*: studies with any false verdict, in either direction, in that family.
- *sizes*: studies with any false size in that family, which has 5 % of its own.
- *most of one claim*: the claim that was falsely judged most often.
- *uncorrected*: the largest rate, over all claims and both directions, at which the p of a single
  test fell below 0.05 although its side is false. It is the largest of some forty, so a few
  points above 5 are chance. M1 at the border is not: validation does not always find the best
  method, and the one that it finds is then less far ahead than the best.
"""
COVERAGE = """\
## Coverage
How often an interval of 95 % holds the truth, of a study with looks at the last one. *Seeds and
images*, *wider*: over all contrasts of errors of all claims, the truth being that of the population
of seeds and images. *Wider C15*: its variance components (where there are none, the jackknife is
too wide). *Wider losses*: of cross-entropy, KL and entropy where their images are known. *Seeds
losses*, *validation*: Student's t of what has no second interval, as what is measured on training
images, of which no other images are meant. *One*: a single difference of two equal cells. Over
seeds alone it holds the truth of *these images*; the truth of all images it holds as often as the
column *one: seeds* says, which is why there is a second interval. The last column has seeds, splits
and images crossed.
"""
SAME = """\
## Coverage of the intervals of 90 %
By these *the same* is judged (two one-sided tests of 5 % each). *C10*: a chain against its direct
twin, the one contrast that asks it, in the n studies that tested it (`--same`). *One*: as above.
"""
LOOKS = """\
## Looks
Studies with a false verdict in a family at this look or an earlier one. *Spent*: what all tests of
a family may have erred in by then; the settings have it of O'Brien-Fleming's type.
"""
POWER = """\
## Power
How often a claim was supported (✓) and contradicted (✗) where that is so, and how often it read "no
worthwhile difference" (≈), in percent of the studies that tested it; `-` where there is none. With
five seeds and two families of some ten and thirty tests, effects of one smallest effect are rarely
found: that is what the seeds needed, printed beside each verdict, say.
"""


def table(results: dict, missing: list[str]) -> str:
    """The results in Markdown. results: by setting, in their order; missing: other settings."""
    head = "primary | rest | sizes, primary | sizes, rest | most of one claim | uncorrected"
    lines = [f"| setting | studies | {head} |", "|---" * 8 + "|"]
    for name, one in results.items():
        counts, n = Counter(one["counts"]), one["studies"]
        false = {key: counts[f"{key}: false"] for key in one["truth"]}
        of = [f"{what}: {family}" for what in ("family", "sizes") for family in ("primary", "rest")]
        cells = [_share(counts[key], n) for key in of]
        worst = max(false, key=lambda key: false[key])
        cells.append(f"{worst} {_share(false[worst], n)}")
        raw = {
            (key, way): counts[f"{key}: raw {way}"]
            for key in false
            for way in ("for", "against")
            if counts[f"{key}: not tested"] < n / 2
        }
        key, way = max(raw, key=lambda one: raw[one])
        cells.append(f"{key} {way} {_share(raw[key, way], n - counts[f'{key}: not tested'])}")
        lines.append(f"| {name} | {n:,} | {' | '.join(cells)} |")
    if missing:
        lines += ["", f"Not simulated by these rules yet: {'; '.join(missing)}."]
    parts = [HEAD, *lines, ""]
    if any(one["looks"] for one in results.values()):
        parts += [LOOKS, _looks(results), ""]
    parts += [COVERAGE, _coverage(results)]
    return "\n".join([*parts, "", same(results), "", POWER, _power(results)])


def _coverage(results: dict) -> str:
    names = {"seeds and images": "of", "wider": "of", "wider C15": "of C15"}
    names |= {"wider losses": "of losses", "seeds losses": "of losses, seeds"}
    names |= {"seeds validation": "of validation, seeds"}
    alone = ("seeds, these images", "seeds", "seeds and images", "wider")
    alone = [f"one: {name}" for name in (*alone, "seeds, splits and images")]
    head = [*names, *alone]
    lines = ["| setting | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, one in results.items():
        counts = Counter(one["counts"])
        cells = [_share(counts[key], counts[of], error=False) for key, of in names.items()]
        cells += [_share(counts[key], one["studies"], error=False) for key in alone]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def same(results: dict) -> str:
    """The section on the intervals of 90 %."""
    names = ("seeds and images", "wider")
    alone = ("seeds, these images", "seeds", "seeds and images", "wider")
    head = ["n", *(f"C10: {name}" for name in names), "studies", *(f"one: {a}" for a in alone)]
    lines = ["| setting | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, one in results.items():
        counts, n = Counter(one["counts"]), one["studies"]
        tested = counts["of 90%"]
        cells = [f"{tested:,}", *(_share(counts[f"{key} 90%"], tested, False) for key in names)]
        cells += [f"{n:,}", *(_share(counts[f"one: {key} 90%"], n, False) for key in alone)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([SAME, *lines])


def _looks(results: dict) -> str:
    lines = ["| setting | look after | spent | primary | rest |", "|---" * 5 + "|"]
    for name, one in results.items():
        for number, seeds in enumerate(one.get("looks", []), 1):
            stated = 100 * compute_alpha_spent(seeds / one["looks"][-1], LEVEL)
            cells = [
                _share(one["counts"].get(f"family: {family} by look {number}", 0), one["studies"])
                for family in ("primary", "rest")
            ]
            lines.append(f"| {name} | {seeds} seeds | {stated:.2g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _power(results: dict) -> str:
    keys = list(load_claims())
    lines = ["| setting | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for name, one in results.items():
        counts, cells = Counter(one["counts"]), []
        for key in keys:
            tested = one["studies"] - counts[f"{key}: not tested"]
            message = [
                f"{100 * counts[f'{key}: {word}'] / tested:.0f} {mark}"
                for word, mark in (("supports", "✓"), ("contradicts", "✗"))
                if word in one["truth"][key] and tested
            ]
            none = counts[f"{key}: no worthwhile difference"]
            message += [f"{100 * none / tested:.0f} ≈"] if none else []
            cells.append(" ".join(message) or "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(count: int, n: int, error: bool = True) -> str:
    """A share in percent, with its standard error."""
    if not n:
        return "-"
    share = count / n
    return f"{100 * share:.1f}" + (f" ± {100 * math.sqrt(share * (1 - share) / n):.1f}" * error)

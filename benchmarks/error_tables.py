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
LENGTHS = """\
## Claims of lengths, images and teachers (E, D, N)
Studies in the shape of `studies/fashion_lengths.yaml` (`benchmarks/simulated_lengths.py` has the
model), with two numbers of images, four more teachers and stops, and students that copy their
teachers' errors with a known strength. E1 to E4 are primary, E1p, D1 and N1 to N4 are the rest; no
other claim is judged, so each of the two families is as small as it can be. Six seeds where
nothing is said. *Null*: every claim is exactly at its border. Columns as above.

What no row shows: E1 and E1p are supported by the lengths that have a scratch run of their price or
a dearer one. A length whose only rival cost less can contradict, but neither supports nor stands in
the way. In `studies/fashion_lengths.yaml` the 30 epochs alone have a dearer rival (297 epochs are
asked for, 480 are there), so there "supports" of E1 speaks of 30 epochs, and of the longer ones
only says that scratch of 480 epochs was not shown to be better. In these studies the claim holds,
or is at its border, at every length.
"""
LOOKS_OF_LENGTHS = """\
### Looks, claims E, D and N
As above.
"""
RAW_OF_LENGTHS = """\
### Tests alone, claims E, D and N
In percent of the studies, how often the p of the test alone fell below 0.05 although its side is
false: for / against the claim, of a study with looks the p of all its looks. The standard error of
5 % is 1.1 with 400 studies. E1, E1p and D1 need several contrasts, so they are below 5 on the side
that needs all of them.
"""
COVERAGE_OF_LENGTHS = """\
### Coverage, claims E, D and N
How often the wider interval of 95 % holds the truth, over the contrasts that each claim needs; of a
study with looks at the last one.
"""
POWER_OF_LENGTHS = """\
### Power, claims E, D and N
As above, but in percent of all studies: E1 and E1p read "not tested" where nothing decides and
some length lacks a scratch run of its price.
"""
STARTS = """\
# How often a verdict on F1 or F2 is wrong

`python benchmarks/error_rates.py --starts` draws studies in the shape of
`studies/real_teacher.yaml`: one network as probed, fine-tuned and random teacher, a student of each
at two lengths, five seeds where nothing is said (`benchmarks/simulated_starts.py` has the model),
and judges them as a real one is judged, with F1 and F2 as primary claims. *At the border*: the
student of the probed teacher is worse by just the smallest effect, which neither supports nor
contradicts F1, and the two of F2 are equal. Shares are in percent, with their standard errors.
Stated: at most 5 % of studies with a false verdict.

- *raw*: how often the p of the test alone fell below 0.05 although its side is false, for / against
  the claim.
- *covered*: how often the interval of 95 % that decides holds the truth.
- *found*: how often a true claim was supported (✓), a false one contradicted (✗).
"""


def tabulate_starts(results: dict) -> str:
    """The results of F1 and F2 in Markdown, by setting in their order."""
    keys = list(next(iter(results.values()))["truth"])
    columns = [f"{what} {key}" for what in ("raw", "covered", "found") for key in keys]
    head = ["setting", "studies", "false verdicts", "false sizes", *columns]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, one in results.items():
        counts, n = Counter(one["counts"]), one["studies"]
        cells = [_share(counts[f"{what}: primary"], n) for what in ("family", "sizes")]
        for key in keys:
            pair = [counts[f"{key}: raw {way}"] for way in ("for", "against")]
            cells.append(" / ".join(_share(each, n, error=False) for each in pair))
        for key in keys:
            cells.append(_share(counts[f"wider {key}"], counts[f"of {key}"], error=False))
        found = [line.split(" | ") for line in _power({name: one}, keys).splitlines()[2:]]
        cells += [cell.strip(" |") for cell in found[0][1:]]
        lines.append(f"| {name.removeprefix('F: ')} | {n:,} | {' | '.join(cells)} |")
    return "\n".join([STARTS, *lines])


def table(results: dict, of_lengths: dict, missing: list[str]) -> str:
    """The results in Markdown.

    results, of_lengths: by setting, in their order, of the two layouts; missing: other settings.
    """
    parts = [HEAD, _errors(results)]
    if missing:
        parts += ["", f"Not simulated by these rules yet: {'; '.join(missing)}."]
    parts.append("")
    if any(one["looks"] for one in results.values()):
        parts += [LOOKS, _looks(results), ""]
    parts += [COVERAGE, _coverage(results), "", same(results), ""]
    tested = {
        key
        for one in results.values()
        for key in one["truth"]
        if one["counts"].get(f"{key}: not tested", 0) < one["studies"]
    }
    parts += [POWER, _power(results, [key for key in load_claims() if key in tested])]
    return "\n".join([*parts, "", _lengths(of_lengths)] if of_lengths else parts)


def _errors(results: dict) -> str:
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
    return "\n".join(lines)


def _lengths(results: dict) -> str:
    """The section on the claims E, D and N, in a layout of their own."""
    keys = list(next(iter(results.values()))["truth"])
    parts = [LENGTHS, _errors(results), ""]
    if any(one["looks"] for one in results.values()):
        parts += [LOOKS_OF_LENGTHS, _looks(results), ""]
    head = ["| setting | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    raw, covered = list(head), list(head)
    for name, one in results.items():
        counts, n = Counter(one["counts"]), one["studies"]
        if not any(one["truth"].values()):  # else a false side is far from what is true
            pairs = [[counts[f"{key}: raw {way}"] for way in ("for", "against")] for key in keys]
            cells = [" / ".join(_share(each, n, error=False) for each in pair) for pair in pairs]
            raw.append(f"| {name} | {' | '.join(cells)} |")
        cells = [_share(counts[f"wider {key}"], counts[f"of {key}"], error=False) for key in keys]
        covered.append(f"| {name} | {' | '.join(cells)} |")
    parts += [RAW_OF_LENGTHS, *raw, "", COVERAGE_OF_LENGTHS, *covered, ""]
    return "\n".join([*parts, POWER_OF_LENGTHS, _power(results, keys, of_all=True)])


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


def _power(results: dict, keys: list[str], of_all: bool = False) -> str:
    """How often what is true was found, of the studies that tested it, or of all."""
    lines = ["| setting | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for name, one in results.items():
        counts, cells = Counter(one["counts"]), []
        for key in keys:
            tested = one["studies"] - (0 if of_all else counts[f"{key}: not tested"])
            if key not in one["truth"]:  # a claim that is newer than the results
                cells.append("-")
                continue
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

"""How often a verdict is wrong: studies of known truth, judged by the code that judges a study.

Each setting draws studies (see simulated.py), single images and all, and sends them through
`evidence.claim.judge`. A verdict is false if it says `supports` of what is not so, or `contradicts`
of what is. The rates are stated at 5 % for each of the two families; a claim alone is far below.
Coverage: how often an interval of 95 % holds the true effect (that of 90 % by which `the same` is
judged is left out), over all contrasts of errors: the one over seeds and images, and the wider of
the two, which decides; beside them, in a layout of its own, the one over seeds, whose truth is that
of its test images.

    python benchmarks/error_rates.py [--studies 1000] [--settings null,ties] [--out rates.json]
    python benchmarks/error_rates.py --table rates.json > benchmarks/error_rates.md

An hour and more on one core. The file of results grows by blocks of 50 studies, and a run that
finds one goes on from there.
"""

import argparse
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from scipy import special

sys.path.insert(0, str(Path(__file__).parent))
from simulated import BASE, DELTA, Setting, Studies

from kdpipe.evidence.claim import claims, find, judge
from kdpipe.evidence.verdicts import Finding
from kdpipe.statistics.components import crossed
from kdpipe.statistics.power import LEVEL

HEAD = """\
# How often a verdict is wrong

`python benchmarks/error_rates.py` draws studies of known truth and judges them by the code that
judges a real one (`benchmarks/simulated.py` has the model, `docs/statistics.md` the rules).
Shares are in percent, with their standard errors; n is the number of studies. Stated: at most 5 %
for each family.

- *primary*, *rest*: studies with any false verdict, in either direction, in that family.
- *most of one claim*: the claim that was falsely judged most often.
- *uncorrected*: the largest rate, over all claims and both directions, at which the p of a single
  test fell below 0.05 although its side is false. It is the largest of some forty, so a few
  points above 5 are chance. M1 at the border is not: validation does not always find the best
  method, and the one that it finds is then less far ahead than the best.
"""
COVERAGE = """\
## Coverage
How often an interval of 95 % holds the truth. *Seeds and images*, *wider*: over all contrasts of
errors of all claims, the truth being that of the population of seeds and images. *Wider C15*: its
variance components (where there are none, the jackknife is too wide). *Seeds losses*,
*validation*: Student's t of what has no outcomes by image. *One*: a single difference of two
equal cells. Over seeds alone it holds the truth of *these images*; the truth of all images it
holds as often as the column *one: seeds* says, which is why there is a second interval. The last
column has seeds, splits and images crossed.
"""
POWER = """\
## Power
How often a claim was supported (✓) and contradicted (✗) where that is so, in percent of the
studies that tested it; `-` where neither is. With five seeds and two families of some ten and
thirty tests, effects of one smallest effect are rarely found: that is what the seeds needed,
printed beside each verdict, say.
"""
CHUNK = 50  # studies between two writes
SETTINGS = (
    Setting("null"),
    Setting("null, 3 seeds", seeds=3),
    Setting("null, 10 seeds", seeds=10),
    Setting("true by one smallest effect", effect=1.0),
    Setting("true by two, 10 seeds", seeds=10, effect=2.0),
    Setting("at the border of what counts", seeds=10, lost=1.0, apart=1.0, luck=0.2, taste=0.05),
    Setting("equal, little noise, 10 seeds", seeds=10, luck=0.15, taste=0.03, images=2000),
    Setting("noise of seeds", taste=0.0, shift=0.12),
    Setting("noise of images", taste=0.6, shift=0.0, luck=0.2),
    Setting("noise of splits", splits=3, luck=0.3, redrawn=0.1),
    Setting("unequal variances", uneven=4.0),
    Setting("ties", seeds=3, images=50, luck=0.1, taste=0.0, shift=0.0),
    Setting("cells missing", missing=("student-wrn16-4-full--wrn10-0.5-early-1",), holes=0.01),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--studies", type=int, default=1000, help="in each setting")
    parser.add_argument("--settings", help="only these, by name, with a semicolon between")
    parser.add_argument("--out", type=Path, default=Path("error_rates.json"))
    parser.add_argument("--table", type=Path, help="print the table of a file of results")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text())))
        return
    asked = options.settings.split(";") if options.settings else [s.name for s in SETTINGS]
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for start in range(0, options.studies, CHUNK):
        for setting in SETTINGS:
            done = found.get(setting.name, {}).get("studies", 0)
            if setting.name in asked and done <= start:
                count = min(CHUNK, options.studies - start)
                found[setting.name] = _added(
                    found.get(setting.name), simulate(setting, count, start)
                )
                options.out.write_text(json.dumps(found, indent=1))
    print(table(found))


def simulate(setting: Setting, count: int, start: int = 0) -> dict:
    """Counts over some studies of a setting; study k has the seed k, whatever was drawn before."""
    began = time.process_time()
    studies = Studies(setting)
    truths = _truths(studies)
    total: Counter = Counter()
    for number in range(start, start + count):
        random = np.random.default_rng([number, *setting.name.encode()])
        frame, curves = studies.draw(random)
        verdicts = judge(frame, curves, DELTA, None, studies.outcomes.get)
        wrong = Counter()
        for one in verdicts:
            family = "primary" if one.primary else "rest"
            truth = truths[one.id]
            total[f"{one.id}: {one.verdict}"] += 1
            true = truth["supports"] if one.verdict == "supports" else truth["contradicts"]
            if one.verdict in ("supports", "contradicts") and not true:
                total[f"{one.id}: false"] += 1
                wrong[family] += 1
            total[f"{one.id}: raw for"] += not truth["supports"] and one.p < LEVEL
            total[f"{one.id}: raw against"] += not truth["contradicts"] and one.p_against < LEVEL
            _cover(total, one.contrasts, truth["effects"])
        total.update({f"family: {family}": 1 for family in wrong})
        _cover_seeds(total, setting, random)
    said = {"studies": count, "cpu_seconds": time.process_time() - began}
    said["counts"] = {key: int(number) for key, number in total.items()}
    said["truth"] = {
        key: [word for word in ("supports", "contradicts") if truth[word]]
        for key, truth in truths.items()
    }
    return said


def _added(before: dict | None, more: dict) -> dict:
    if before is None:
        return more
    counts = Counter(before["counts"])
    counts.update(more["counts"])
    sums = {key: before[key] + more[key] for key in ("studies", "cpu_seconds")}
    return more | sums | {"counts": dict(counts)}


def _truths(studies: Studies) -> dict[str, dict]:
    """For each claim whether it may be supported and contradicted, and its contrasts' effects."""
    frame, curves = studies.truth()
    found = {}
    for key, claim in claims().items():
        part = find(claim, frame, curves, DELTA)
        if not isinstance(part, Finding):
            part = Finding([], str(part))
        effects = {one.text: one.summary.mean for one in part.contrasts}
        needed = [(one.asks, one.delta, effects[one.text]) for one in part.needed]
        found[key] = {
            "effects": effects,
            "supports": all(_holds(*one) for one in needed),
            "contradicts": any(_fails(*one) for one in needed) or not needed,
        }
    return found


CLOSE = 1e-6


def _holds(asks: str, delta: float | None, effect: float) -> bool:
    if asks == "above":
        return effect > CLOSE
    assert delta is not None
    return effect > -delta + CLOSE and (asks == "not better" or effect < delta - CLOSE)


def _fails(asks: str, delta: float | None, effect: float) -> bool:
    if asks == "above":
        return effect < -CLOSE or (delta is not None and abs(effect) < delta - CLOSE)
    assert delta is not None
    return effect < -delta - CLOSE or (asks == "same" and effect > delta + CLOSE)


UNITS = {"points": "", "points²": " C15", "nat": " losses"}  # the unit of a contrast: its column


def _cover(total: Counter, contrasts: list[dict], effects: dict[str, float]) -> None:
    """Count what the intervals of a claim's contrasts hold, of those whose truth is known."""
    for one in contrasts:
        truth, unit = effects.get(one["text"]), UNITS.get(one["unit"])
        if truth is None or unit is None or one["n"] < 3 or one["level"] != 0.95:
            continue
        ends, images = (one["low"], one["high"]), one["images"] or {}
        if "low" in images:
            both = (images["low"], images["high"])
            wide = (min(ends[0], both[0]), max(ends[1], both[1]))
            total[f"seeds and images{unit}"] += both[0] <= truth <= both[1]
            total[f"wider{unit}"] += wide[0] <= truth <= wide[1]
            total[f"of{unit}"] += 1
        else:
            unit = unit or " validation"
            total[f"seeds{unit}"] += ends[0] <= truth <= ends[1]
            total[f"of{unit}"] += 1


def _cover_seeds(total: Counter, s: Setting, random: np.random.Generator) -> None:
    """The three intervals of one difference of two equal cells; over seeds, given the images."""
    image = random.normal(0, s.difficulty, s.images)
    luck, shift = (np.array([sd, sd * s.uneven]) for sd in (s.luck, s.shift))
    spread = np.sqrt(s.difficulty**2 + s.taste**2 + luck**2 + shift**2)
    threshold = -special.ndtri(BASE / 100) * spread
    score = image + random.normal(0, s.taste, (2, s.images))
    run = random.normal(0, 1, (2, s.seeds)) * shift[:, None]
    noise = random.normal(0, 1, (2, s.seeds, s.images)) * luck[:, None, None]
    wrong = score[:, None] + run[:, :, None] + noise > threshold[:, None, None]
    difference = 100.0 * (wrong[0].astype(float) - wrong[1])
    inner = np.hypot(luck, shift)[:, None]
    here = 100 * special.ndtr((score - threshold[:, None]) / np.maximum(inner, 1e-9)).mean(axis=1)
    seeds, both = crossed(difference.mean(axis=1), "seed"), crossed(difference, "seed", "image")
    low, high = seeds.interval()
    total["one: seeds, these images"] += low <= here[0] - here[1] <= high
    total["one: seeds"] += low <= 0 <= high
    wide = both.interval()
    total["one: seeds and images"] += wide[0] <= 0 <= wide[1]
    total["one: wider"] += min(low, wide[0]) <= 0 <= max(high, wide[1])
    part = random.normal(0, 1, (s.seeds, 3, 1)) + random.normal(0, 1, (3, 1))  # of seeds, splits
    part = part + random.normal(0, 10, (s.seeds, 3, s.images)) + random.normal(0, 5, s.images)
    low, high = crossed(part, "seed", "split", "image").interval()
    total["one: seeds, splits and images"] += low <= 0 <= high


def table(found: dict) -> str:
    """The results in Markdown."""
    found = {setting.name: found[setting.name] for setting in SETTINGS if setting.name in found}
    lines = ["| setting | studies | primary | rest | most of one claim | uncorrected |"]
    lines.append("|---" * 6 + "|")
    for name, one in found.items():
        counts, n = Counter(one["counts"]), one["studies"]
        false = {key: counts[f"{key}: false"] for key in one["truth"]}
        cells = [_share(counts["family: primary"], n), _share(counts["family: rest"], n)]
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
    return "\n".join(
        [HEAD, "\n".join(lines), "", COVERAGE, _coverage(found), "", POWER, _power(found)]
    )


def _coverage(found: dict) -> str:
    names = {"seeds and images": "of", "wider": "of", "wider C15": "of C15"}
    names |= {"seeds losses": "of losses", "seeds validation": "of validation"}
    alone = ("seeds, these images", "seeds", "seeds and images", "wider")
    alone = [f"one: {name}" for name in (*alone, "seeds, splits and images")]
    head = [*names, *alone]
    lines = ["| setting | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, one in found.items():
        counts = Counter(one["counts"])
        cells = [_share(counts[key], counts[of], error=False) for key, of in names.items()]
        cells += [_share(counts[key], one["studies"], error=False) for key in alone]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _power(found: dict) -> str:
    keys = list(claims())
    lines = ["| setting | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for name, one in found.items():
        counts, cells = Counter(one["counts"]), []
        for key in keys:
            tested = one["studies"] - counts[f"{key}: not tested"]
            said = [
                f"{100 * counts[f'{key}: {word}'] / tested:.0f} {mark}"
                for word, mark in (("supports", "✓"), ("contradicts", "✗"))
                if word in one["truth"][key] and tested
            ]
            cells.append(" ".join(said) or "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(count: int, n: int, error: bool = True) -> str:
    """A share in percent, with its standard error."""
    if not n:
        return "-"
    share = count / n
    return f"{100 * share:.1f}" + (f" ± {100 * math.sqrt(share * (1 - share) / n):.1f}" * error)


if __name__ == "__main__":
    main()

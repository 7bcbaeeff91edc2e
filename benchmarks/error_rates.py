"""How often a verdict is wrong: studies of known truth, judged by the code that judges a study.

Each setting draws studies (see simulated.py, simulated_lengths.py for the claims E, D and N, and
simulated_starts.py for F1 and F2),
single images and all, and sends them through `analysis.claim.judge_claims`. A direction is false if
it says `supports` of what is not so, or `contradicts` of what is; a size is false if the difference
is not beyond the smallest effect, or not within it, as it says (`no worthwhile difference` says the
latter). The rates are stated at 5 % for the directions of each of the two families and, apart, for
its sizes; a claim alone is far below.
A study with looks is judged at each of them, and one false verdict at any of them counts.
Coverage: how often an interval of 95 % (90 % where `the same` is judged) holds the true effect,
over all contrasts of errors: the one over seeds and images, and the wider of the two, which
decides; beside them, in a layout of its own, the one over seeds, whose truth is that of its test
images.

    python benchmarks/error_rates.py [--studies 1000] [--settings 'null;ties'] [--out rates.json]
    python benchmarks/error_rates.py --same [--out same.json]
    python benchmarks/error_rates.py --balanced [--studies 300] [--out balanced.json]
    python benchmarks/error_rates.py --starts [--studies 1000] [--out starts.json]
    cd benchmarks && python error_rates.py --table error_rates{,_lengths}.json > error_rates.md
    cd benchmarks && python error_rates.py --table error_rates_starts.json

Three hours and more on one core; with `--same`, which counts the intervals of 90 % alone, some
minutes. The file of results grows by blocks of 50 studies, and a run that finds one goes on from
there: `benchmarks/error_rates.json` and `error_rates_lengths.json` (the claims E, D and N) have
what `error_rates.md` shows.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

sys.path.insert(0, str(Path(__file__).parent))
from error_tables import same, table, tabulate_starts
from simulated import BASE, DELTA, Setting, Studies
from simulated_lengths import UNITS as UNITS_OF_LENGTHS
from simulated_lengths import LengthSetting, LengthStudies
from simulated_starts import StartSetting, StartStudies

from kdpipe.analysis.claim import (
    LESS,
    WORTH_HAVING,
    Finding,
    Verdict,
    evaluate_claim,
    judge_claims,
    load_claims,
)
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis
from kdpipe.stats.power import LEVEL
from kdpipe.stats.variance_components import decompose_variance

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
    Setting("noise of images", taste=0.6, shift=0.0, luck=0.2, image_noise=1.0),
    Setting("noise of splits", splits=3, luck=0.3, redrawn=0.1),
    Setting("unequal variances", uneven=4.0),
    Setting("ties", seeds=3, images=50, luck=0.1, taste=0.0, shift=0.0),
    Setting("cells missing", missing=("student-wrn16-4-full--wrn10-0.5-early-1",), holes=0.01),
    Setting("null, looks at 3, 5 and 8 seeds", seeds=8, looks=(3, 5, 8)),
    Setting(
        "at the border, looks at 3, 6 and 10 seeds",
        **{"seeds": 10, "looks": (3, 6, 10), "lost": 1.0, "apart": 1.0, "luck": 0.2, "taste": 0.05},
    ),
)

# Studies by balanced accuracy, with a large class that is easier and nine small ones.
CLASSES: dict[str, Any] = {"class_errors": (0.4, *[9.6 / 9] * 9)}
# 39 and 12 test images in a small class.
HALF: dict[str, Any] = CLASSES | {"class_shares": (0.5, *[0.5 / 9] * 9)}
MOST: dict[str, Any] = CLASSES | {"class_shares": (0.85, *[0.15 / 9] * 9)}
BALANCED_SETTINGS = (
    Setting("balanced: null", **HALF),
    Setting("balanced: null, 10 seeds", seeds=10, **HALF),
    Setting("balanced: noise of images", taste=0.6, shift=0.0, luck=0.2, **HALF),
    Setting("balanced: small classes of 12 images", taste=0.6, shift=0.0, luck=0.2, **MOST),
    Setting(
        "balanced: at the border of what counts",
        **{"seeds": 10, "lost": 1.0, "apart": 1.0, "luck": 0.2, "taste": 0.05, **HALF},
    ),
)

# Studies of lengths, images and teachers: the claims E, D and N, and no other.
LENGTH_SETTINGS = (
    LengthSetting("E, D, N: null"),
    LengthSetting("E, D, N: null, 10 seeds", seeds=10),
    LengthSetting("E, D, N: true by one smallest effect, 10 seeds", seeds=10, effect=1.0),
    LengthSetting("E, D, N: true by two, 10 seeds", seeds=10, effect=2.0),
    LengthSetting("E, D, N: noise of images", taste=0.6, shift=0.0, luck=0.2),
    LengthSetting("E, D, N: null, looks at 3 and 6 seeds", looks=(3, 6)),
)

# Studies of teachers that begin in three ways: the claims F1 and F2, and no other. At the border a
# probed teacher is worse by just a smallest effect.
START_SETTINGS = (
    StartSetting("F: at the border", lost=1.0),
    StartSetting("F: at the border, 10 seeds", seeds=10, lost=1.0),
    StartSetting("F: at the border, noise of images", lost=1.0, taste=0.6, shift=0.0, luck=0.2),
    StartSetting("F: at the border, noise of seeds", lost=1.0, taste=0.0, shift=0.12),
    StartSetting("F: at the border, 700 images", lost=1.0, images=700, validation=400),
    StartSetting("F: at the border, looks at 3 and 5 seeds", lost=1.0, looks=(3, 5)),
    StartSetting("F: equally good"),
    StartSetting("F: fine-tuned better by two", lost=2.0, effect=2.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--studies", type=int, default=1000, help="in each setting")
    parser.add_argument("--settings", help="only these, by name, with a semicolon between")
    parser.add_argument("--out", type=Path, default=Path("error_rates.json"))
    parser.add_argument("--same", action="store_true", help="only the intervals of 90 %%")
    parser.add_argument("--balanced", action="store_true", help="studies by balanced accuracy")
    parser.add_argument("--starts", action="store_true", help="the claims F1 and F2")
    parser.add_argument("--table", type=Path, nargs="+", help="print the tables of some results")
    options = parser.parse_args()
    settings = SETTINGS if options.same else (*SETTINGS, *LENGTH_SETTINGS)
    settings = BALANCED_SETTINGS if options.balanced else settings
    settings = START_SETTINGS if options.starts else settings
    names = [setting.name for setting in settings]
    if options.table:
        known = [json.loads(path.read_text()) for path in options.table]
        print(tabulate({name: one for part in known for name, one in part.items()}))
        return
    draw = cover_same if options.same else simulate
    requests = options.settings.split(";") if options.settings else names
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    for start in range(0, options.studies, CHUNK):
        for setting in settings:
            n_done = results.get(setting.name, {}).get("studies", 0)
            if setting.name in requests and n_done <= start:
                count = min(CHUNK, options.studies - start)
                results[setting.name] = _added(
                    results.get(setting.name), draw(setting, count, start)
                )
                options.out.write_text(json.dumps(results, indent=1))
    print(same(results) if options.same else tabulate(results))


def tabulate(results: dict) -> str:
    """The tables of results by setting, in the order of the settings."""
    if any(one.name in results for one in BALANCED_SETTINGS):
        known = {one.name: results[one.name] for one in BALANCED_SETTINGS if one.name in results}
        return table(known, {}, [])
    if any(one.name in results for one in START_SETTINGS):
        return tabulate_starts(
            {one.name: results[one.name] for one in START_SETTINGS if one.name in results}
        )
    parts = [
        {one.name: results.get(one.name) for one in part} for part in (SETTINGS, LENGTH_SETTINGS)
    ]
    known = [{name: one for name, one in part.items() if one} for part in parts]
    missing = [name for part in parts for name, one in part.items() if not one]
    return table(known[0], known[1], missing)


def simulate(setting: Setting, count: int, start: int = 0) -> dict:
    """Counts over some studies of a setting; study k has the seed k, whatever was drawn before."""
    return _counted(setting, count, start, _judged)


def cover_same(setting: Setting, count: int, start: int = 0) -> dict:
    """The intervals of 90 % alone: of studies that have the cells of the one claim with any."""
    return _counted(setting, count, start, _found_the_same, chains=True)


def _counted(
    setting: Setting, count: int, start: int, counts: Callable[..., None], chains: bool = False
) -> dict:
    began = time.process_time()
    is_of_lengths = isinstance(setting, LengthSetting)
    if isinstance(setting, StartSetting):
        studies: Studies | LengthStudies = StartStudies(setting)
    else:
        studies = LengthStudies(setting) if is_of_lengths else Studies(setting, chains)
    truths = _truths(studies)
    total: Counter = Counter()
    for number in range(start, start + count):
        random = np.random.default_rng([number, *setting.name.encode()])
        counts(total, studies, truths, *studies.draw(random))
        if not isinstance(studies, LengthStudies):
            _cover_seeds(total, setting, random)
    message = {"studies": count, "cpu_seconds": time.process_time() - began}
    message["counts"] = {key: int(number) for key, number in total.items()}
    message["looks"] = list(setting.looks)
    message["truth"] = {
        key: [word for word in ("supports", "contradicts") if truth[word]]
        for key, truth in truths.items()
    }
    return message


def _judged(total: Counter, studies: Studies | LengthStudies, truths: dict, frame, curves) -> None:
    """Count what the verdicts of one study say, at each of its looks."""
    looks, errors, size_errors = _looks(studies.setting), set(), set()
    at_looks = [
        judge_claims(
            *_seen(frame, curves, look),
            DELTA,
            None,
            studies.load_images,
            interim=look,
            **studies.judged,
        )
        for look in looks
    ]
    for number in range(len(looks)):
        for one in at_looks[number]:
            if _is_false(one, truths[one.id]):
                errors.add("primary" if one.primary else "rest")
            if _is_false_size(one, truths[one.id]):
                size_errors.add("primary" if one.primary else "rest")
        total.update({f"family: {family} by look {number + 1}": 1 for family in errors})
    total.update({f"family: {family}": 1 for family in errors})
    total.update({f"sizes: {family}": 1 for family in size_errors})
    for of_looks in zip(*at_looks, strict=True):
        last = of_looks[-1]
        truth = truths[last.id]
        settled = [one.verdict for one in of_looks if one.verdict in SETTLED]
        total[f"{last.id}: {[*settled, last.verdict][0]}"] += 1  # the first is reported
        total[f"{last.id}: false"] += any(_is_false(one, truth) for one in of_looks)
        total[f"{last.id}: size {last.size or 'not asked'}"] += 1
        total[f"{last.id}: false size"] += any(_is_false_size(one, truth) for one in of_looks)
        for way in ("for", "against"):
            p = [one.p if way == "for" else one.p_against for one in of_looks]
            p = [look.adjust_p(each) for look, each in zip(looks, p, strict=True)]
            is_true = truth["supports" if way == "for" else "contradicts"]
            total[f"{last.id}: raw {way}"] += not is_true and any(each < LEVEL for each in p)
        if isinstance(studies, LengthStudies):
            needed = [one for one in last.contrasts if one["needed"]]
            effects = truth["effects"]
            if studies.is_null:  # whatever was chosen
                effects = {one["text"]: 0.0 for one in needed}
            _cover(total, needed, effects, dict.fromkeys(UNITS_OF_LENGTHS, f" {last.id}"))
        else:
            _cover(total, last.contrasts, truth["effects"])


def _found_the_same(total: Counter, studies: Studies, truths: dict, frame, curves) -> None:
    part = evaluate_claim(load_claims()["C10"], frame, curves, DELTA, studies.load_images)
    contrasts = part.contrasts if isinstance(part, Finding) else []
    _cover(total, [one.to_dict() for one in contrasts], truths["C10"]["effects"])


def _looks(setting: Setting) -> list[InterimAnalysis]:
    numbers = range(1, len(setting.looks) + 1)
    return [InterimAnalysis(setting.looks, number) for number in numbers] or [SINGLE_ANALYSIS]


def _seen(frame, curves, look: InterimAnalysis):
    """What of a study is there at a look."""
    if look is SINGLE_ANALYSIS:
        return frame, curves
    frame = frame.loc[frame.seed < look.counts[look.number - 1]]
    return frame, curves.loc[curves.run.isin(frame.run)]


def _is_false(verdict: Verdict, truth: dict) -> bool:
    message = verdict.verdict
    return message in ("supports", "contradicts") and not truth[message]


SETTLED = ("supports", "contradicts", "no worthwhile difference")


def _is_false_size(verdict: Verdict, truth: dict) -> bool:
    """Whether the size of a difference is said and is another one."""
    effects = truth["sizes"]  # in smallest effects
    if not effects:  # its premise does not hold in truth
        return False
    if verdict.size == LESS:
        return any(abs(effect) > 1 - CLOSE for effect in effects)
    if verdict.size != WORTH_HAVING:
        return False
    if verdict.verdict == "contradicts":
        return not min(effects) < -1 - CLOSE
    return not min(effects) > 1 + CLOSE


def _added(before: dict | None, more: dict) -> dict:
    if before is None:
        return more
    counts = Counter(before["counts"])
    counts.update(more["counts"])
    sums = {key: before[key] + more[key] for key in ("studies", "cpu_seconds")}
    return more | sums | {"counts": dict(counts)}


def _truths(studies: Studies | LengthStudies) -> dict[str, dict]:
    """For each claim whether it may be supported and contradicted, and its contrasts' effects."""
    frame, curves = studies.truth()
    results, derived = {}, studies.derive_truth()
    for key, claim in load_claims().items():
        if key not in studies.judged.get("claims", [key]):
            continue
        if key in derived:
            effect, effects = derived[key]
            supports, contradicts = effect > CLOSE, effect < -CLOSE
            results[key] = {"effects": effects, "supports": supports, "contradicts": contradicts}
            results[key]["sizes"] = [effect]
            continue
        part = evaluate_claim(claim, frame, curves, DELTA)
        if not isinstance(part, Finding):
            part = Finding([], str(part))
        effects = {one.text: one.summary.mean for one in part.contrasts}
        needed = [(one.hypothesis, one.delta, effects[one.text]) for one in part.needed_contrasts]
        results[key] = {
            "effects": effects,
            "supports": all(_holds(*one) for one in needed),
            "contradicts": any(_fails(*one) for one in needed) or not needed,
            "sizes": [effect / delta for _, delta, effect in needed if delta],
        }
    return results


CLOSE = 1e-6


def _holds(asks: str, delta: float | None, effect: float) -> bool:
    if asks == "above":
        return effect > CLOSE
    assert delta is not None
    return effect > -delta + CLOSE and (asks == "not better" or effect < delta - CLOSE)


def _fails(asks: str, delta: float | None, effect: float) -> bool:
    if asks == "above":
        return effect < -CLOSE
    assert delta is not None
    return effect < -delta - CLOSE or (asks == "same" and effect > delta + CLOSE)


UNITS = {"points": "", "points²": " C15", "nat": " losses"}  # the unit of a contrast: its column


def _cover(
    total: Counter, contrasts: list[dict], effects: dict[str, float], units: dict = UNITS
) -> None:
    """Count what the intervals of a claim's contrasts hold, of those whose truth is known."""
    for one in contrasts:
        truth, unit = effects.get(one["text"]), units.get(one["unit"])
        if truth is None or unit is None or one["n"] < 3:
            continue
        level = "" if one["level"] == 0.95 else f" {one['level']:.0%}"
        ends, images = (one["low"], one["high"]), one["images"] or {}
        if "low" in images:
            both = (images["low"], images["high"])
            wide = (min(ends[0], both[0]), max(ends[1], both[1]))
            total[f"seeds and images{unit}{level}"] += both[0] <= truth <= both[1]
            total[f"wider{unit}{level}"] += wide[0] <= truth <= wide[1]
            total[f"of{unit}{level}"] += 1
        else:
            unit = unit or " validation"
            total[f"seeds{unit}{level}"] += ends[0] <= truth <= ends[1]
            total[f"of{unit}, seeds{level}"] += 1


def _cover_seeds(total: Counter, s: Setting, random: np.random.Generator) -> None:
    """The three intervals of one difference of two equal cells; over seeds, given the images."""
    image = random.normal(0, s.difficulty, s.images)
    luck, shift = (np.array([sd, sd * s.uneven]) for sd in (s.luck, s.shift))
    spread = np.sqrt(s.difficulty**2 + s.taste**2 + luck**2 + shift**2)
    threshold = -special.ndtri(BASE / 100) * spread
    score = image + random.normal(0, s.taste, (2, s.images))
    run = random.normal(0, 1, (2, s.seeds)) * shift[:, None]
    noise = random.normal(0, 1, (2, s.seeds, s.images)) * luck[:, None, None]
    errors = score[:, None] + run[:, :, None] + noise > threshold[:, None, None]
    difference = 100.0 * (errors[0].astype(float) - errors[1])
    inner = np.hypot(luck, shift)[:, None]
    here = 100 * special.ndtr((score - threshold[:, None]) / np.maximum(inner, 1e-9)).mean(axis=1)
    seeds, both = (
        decompose_variance(difference.mean(axis=1), "seed"),
        decompose_variance(difference, "seed", "image"),
    )
    for level, message in ((0.95, ""), (0.90, " 90%")):
        (low, high), wide = seeds.compute_interval(level), both.compute_interval(level)
        total[f"one: seeds, these images{message}"] += low <= here[0] - here[1] <= high
        total[f"one: seeds{message}"] += low <= 0 <= high
        total[f"one: seeds and images{message}"] += wide[0] <= 0 <= wide[1]
        total[f"one: wider{message}"] += min(low, wide[0]) <= 0 <= max(high, wide[1])
    part = random.normal(0, 1, (s.seeds, 3, 1)) + random.normal(0, 1, (3, 1))  # of seeds, splits
    part = part + random.normal(0, 10, (s.seeds, 3, s.images)) + random.normal(0, 5, s.images)
    low, high = decompose_variance(part, "seed", "split", "image").compute_interval()
    total["one: seeds, splits and images"] += low <= 0 <= high


if __name__ == "__main__":
    main()

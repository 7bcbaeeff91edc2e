"""E1 to E4 and D1 on made data: lengths, prices and numbers of images, worked out by hand."""

import math
from pathlib import Path

import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame
from scipy import stats

from kdpipe.analysis.claim import evaluate_claim, judge_findings, load_claims
from kdpipe.analysis.preregistration import register
from kdpipe.analysis.trainings import find_end
from kdpipe.config import load

NO_CURVES = pd.DataFrame(columns=["run", "epoch", "lr", "val_error"])
NOISE = [[0.00, 0.11, -0.07, 0.05, -0.09], [0.08, -0.06, 0.02, -0.10, 0.06]]
NOISE += [[-0.03, 0.07, 0.09, -0.08, -0.05], [0.10, -0.02, -0.09, 0.04, -0.03]]
EPOCH = 10.0  # operations of an epoch of the student


def judged(claim, *cells, delta=0.5):
    facts = load_claims()[claim]
    actual = evaluate_claim(facts, frame(*cells), NO_CURVES, delta)
    return judge_findings({claim: (facts.title, facts.primary, actual)})[0]


def errors_around(mean, key):
    return [mean + noise for noise in NOISE[key % 4]]


def run(mean, epochs, kind, key, validation=None, **labels):
    """Students or scratch runs of one length; validation is as test where nothing is said."""
    known = errors_around(mean if validation is None else validation, key)
    size = labels.get("train_size", 0)
    labels = {"length": epochs, "epochs": epochs, "train_macs": EPOCH * epochs, **labels}
    rows = cell(errors_around(mean, key), kind=kind, val_error=known, **labels)
    return [row | {"run": f"{row['run']}-{size}"} for row in rows]


def alone(means, **labels):
    """Scratch runs by length."""
    return [run(mean, epochs, "scratch", 0, **labels) for epochs, mean in means.items()]


def taught(means, key=1, answers=2.0, path=1000.0, **labels):
    """Students of KD by length; an epoch of the teacher's answers costs twice the student's."""
    rows = []
    for position, (epochs, mean) in enumerate(means.items()):
        prices = {"teacher_macs": answers * EPOCH * epochs, "ancestor_macs": path}
        facts = {"teacher": "large", "kd_epochs": epochs, **prices, **labels}
        rows.append(run(mean, epochs, "student", key + position, **facts))
    return rows


LONGER = {"stop": "longer 120"}  # the helper takes the kind of a stop from its first word


# --- E2: gains at the shortest and at the longest length


@pytest.mark.parametrize(
    ("means", "word", "size"),
    [
        ({30: 12.0, 60: 11.0, 120: 12.0}, "supports", "worth having"),  # gains 3, 2, 0
        ({30: 15.0, 60: 12.0, 120: 9.0}, "contradicts", "worth having"),  # 0, 1, 3
        ({30: 14.0, 60: 9.0, 120: 11.0}, "no worthwhile difference", "less than worth having"),
    ],
)
def test_gains_are_compared_at_the_extreme_lengths(means, word, size):
    scratch = {30: 15.0, 60: 13.0, 120: 12.0}
    actual = judged("E2", *alone(scratch), *taught(means))
    assert (actual.verdict, actual.size) == (word, size), actual
    gains = (15.0 - means[30]) - (12.0 - means[120])
    noise = [b - a for a, b in zip(NOISE[1], NOISE[3], strict=True)]  # that of the taught ones
    values = [gains + part for part in noise]
    assert actual.contrasts[0]["values"] == pytest.approx(values)
    assert actual.p == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue)
    assert actual.reason == "small: 30 against 120 epochs"


def test_a_teacher_of_fewer_lengths_stands_beside():
    other = taught({30: 13.0, 60: 12.5}, stop="schedule 10/35")
    scratch = alone({30: 15.0, 60: 13.0, 120: 12.0})
    actual = judged("E2", *scratch, *taught({30: 12.0, 120: 12.0}), *other)
    main, beside = actual.contrasts
    assert main["needed"] and not beside["needed"] and "30 and 60 epochs" in beside["text"]
    assert beside["effect"] == pytest.approx(1.5, abs=0.1)
    assert judged("E2", *scratch, *taught({30: 12.0})).verdict == "not tested"
    assert "one teacher" in judged("E2", *alone({30: 15.0}), *taught({30: 9.0, 60: 9.0})).reason


# --- E3: trained to the end


def test_the_end_is_the_shortest_length_from_which_no_longer_one_gains():
    def end(*means):
        return find_end(dict(zip((30, 60, 120, 240), means, strict=True)), 0.5)

    assert end(14.0, 12.6, 12.5, 12.4) == 60
    assert end(14.0, 12.9, 12.5, 12.4) == 120  # 240 gains half a point over 60
    assert end(14.0, 13.0, 12.5, 12.0) == 240
    assert end(12.0, 13.0, 14.0, 15.0) == 30  # training longer hurts


ENDED = {30: 15.0, 60: 12.4, 120: 12.2}  # at its end from 60 epochs on


@pytest.mark.parametrize(
    ("at_60", "word"),
    [(11.0, "supports"), (14.0, "contradicts"), (12.4, "no worthwhile difference")],
)
def test_both_arms_stand_at_the_end_of_scratch(at_60, word):
    actual = judged("E3", *alone(ENDED), *taught({30: 9.0, 60: at_60, 120: 5.0}))
    assert actual.verdict == word, actual
    noise = [a - b for a, b in zip(NOISE[0], NOISE[2], strict=True)]
    values = [12.4 - at_60 + part for part in noise]
    at_end, own_best = actual.contrasts
    assert at_end["values"] == pytest.approx(values)
    assert own_best["effect"] == pytest.approx(12.2 - 5.0, abs=0.1) and not own_best["needed"]
    assert "small: from large (full), 60 epochs" in actual.reason
    assert "scratch is 120 epochs, KD from large (full), 120 epochs" in actual.reason
    # Two halves chose for each other: n - 2 degrees of freedom.
    odd, even = pd.Series(values[0::2]), pd.Series(values[1::2])
    se = math.sqrt((3 * odd.var(ddof=0) + 2 * even.var(ddof=0)) / 3 / 5)
    assert actual.p == pytest.approx(stats.t.sf(sum(values) / 5 / se, 3))


def test_the_teacher_is_the_one_that_validation_prefers_at_the_end():
    other = taught({30: 9.0, 60: 1.0, 120: 1.0}, key=2, stop="schedule 10/35", validation=13.0)
    actual = judged("E3", *alone(ENDED), *taught({30: 9.0, 60: 11.0, 120: 5.0}), *other)
    assert actual.effect == pytest.approx(1.4, abs=0.1)  # not 11.4


def test_without_an_end_it_is_not_tested():
    improving = alone({30: 15.0, 60: 13.0, 120: 12.0})
    actual = judged("E3", *improving, *taught({30: 12.0, 60: 11.0, 120: 10.0}))
    assert actual.verdict == "not tested" and "still improves" in actual.reason
    assert "120 epochs" in actual.reason
    short = judged("E3", *alone(ENDED), *taught({30: 12.0, 60: 11.0}))
    assert short.verdict == "not tested" and "not taught at the longest length" in short.reason
    one = judged("E3", *alone({30: 15.0}), *taught({30: 12.0}))
    assert one.verdict == "not tested" and "at one length" in one.reason


# --- E4: a teacher trained longer


@pytest.mark.parametrize(
    ("longer", "word"),
    [
        ({30: 13.0, 120: 9.0}, "supports"),  # gains 1 and 3
        ({30: 11.0, 120: 12.0}, "contradicts"),  # 3 and 0
        ({30: 13.0, 120: 11.0}, "no worthwhile difference"),
    ],
)
def test_the_gain_of_a_longer_teacher_is_compared_at_both_lengths(longer, word):
    full = taught({30: 14.0, 60: 13.0, 120: 12.0}, key=0)
    actual = judged("E4", *full, *taught(longer, key=1, **LONGER))
    assert actual.verdict == word, actual
    expected = (12.0 - longer[120]) - (14.0 - longer[30])
    # Noise of full at 30 and 120 and of longer at 30 and 120: the 1st, 3rd, 2nd and 3rd.
    noise = [c - c - a + b for a, b, c in zip(*NOISE[:3], strict=True)]
    assert actual.contrasts[0]["values"] == pytest.approx([expected + part for part in noise])
    early = judged("E4", *full, *taught(longer, key=1, stop="schedule 10/35"))
    assert early.verdict == "not tested"
    assert judged("E4", *full, *taught({30: 13.0}, **LONGER)).verdict == "not tested"


# --- E1: prices


def test_at_the_same_price_it_is_a_plain_difference():
    """KD of 40 epochs costs 40 + 80 epochs of the student: 120 of scratch."""
    for error, word in (
        (11.0, "supports"),
        (14.0, "contradicts"),
        (12.0, "no worthwhile difference"),
    ):
        actual = judged("E1", *alone({40: 15.0, 120: 12.0}), *taught({40: error}))
        assert actual.verdict == word, actual
        (contrast,) = actual.contrasts
        assert contrast["effect"] == pytest.approx(12.0 - error, abs=0.1)
        assert "scratch of 120 epochs, which cost as much" in contrast["text"]


@pytest.mark.parametrize(
    ("scratch", "error", "word"),
    [
        # 120 epochs are asked for; 90 cost less, 200 more.
        ({90: 13.0, 200: 12.0}, 11.0, "supports"),  # worse though dearer
        ({90: 13.0, 200: 12.0}, 14.0, "contradicts"),  # better though cheaper
        ({90: 13.0, 200: 12.0}, 12.5, "not tested"),  # between the two
        ({90: 13.0}, 11.0, "not tested"),  # worse, but cheaper
        ({90: 13.0}, 14.0, "contradicts"),
        ({200: 12.0}, 11.0, "supports"),
        ({200: 12.0}, 14.0, "not tested"),  # better, but dearer
        ({90: 12.2, 200: 12.1}, 12.1, "no worthwhile difference"),  # within half a point of both
    ],
)
def test_scratch_runs_of_other_prices_tell_one_direction(scratch, error, word):
    actual = judged("E1", *alone(scratch), *taught({40: error}))
    assert actual.verdict == word, actual
    if word == "not tested" and 200 not in scratch:
        assert "40 epochs, from large (full): 120 epochs on labels alone" in actual.reason


def test_the_nearest_prices_are_compared():
    actual = judged("E1", *alone({20: 1.0, 90: 13.0, 200: 12.0, 400: 30.0}), *taught({40: 11.0}))
    lengths = [contrast["text"].split()[3] for contrast in actual.contrasts]
    assert actual.verdict == "supports" and lengths == ["90", "200"]


def test_all_taught_students_have_to_be_better():
    """60 epochs ask for 180: the dearer run of 200 is worse than neither."""
    scratch = alone({90: 13.0, 200: 12.0})
    mixed = judged("E1", *scratch, *taught({40: 11.0, 60: 14.0}))
    assert mixed.verdict == "contradicts" and "60 epochs, from large" in mixed.contrary
    assert judged("E1", *scratch, *taught({40: 11.0, 60: 11.5})).verdict == "supports"
    # 100 epochs ask for 300: nothing is as dear, which blocks nothing.
    assert judged("E1", *scratch, *taught({40: 11.0, 100: 11.5})).verdict == "supports"


def test_the_teacher_is_chosen_on_validation():
    """A teacher that validation sets aside decides nothing, though test would have it otherwise."""
    scratch = alone({120: 12.0})
    poor = taught({40: 14.0}, key=2, stop="schedule 10/35")
    chosen = judged("E1", *scratch, *taught({40: 11.0}), *poor)
    assert chosen.verdict == "supports"
    needed, *others = chosen.contrasts
    assert "from large (full)" in needed["text"] and len(others) == 2
    assert needed["values"] == pytest.approx([1 + a - b for a, b in zip(*NOISE[:2], strict=True)])
    assert [round(c["effect"]) for c in others] == [1, -2]
    lucky = taught({40: 14.0}, key=2, stop="schedule 10/35", validation=9.0)
    assert judged("E1", *scratch, *taught({40: 11.0}), *lucky).verdict == "contradicts"


def test_each_half_of_the_seeds_has_the_teacher_that_the_other_prefers():
    """Seeds 0, 2, 4 prefer the one, 1 and 3 the other: each is judged with the other's choice."""
    scratch = run(12.0, 120, "scratch", 0)
    pair = [*taught({40: 11.0}), *taught({40: 13.0}, key=2, stop="schedule 10/35")]
    for rows, preferred in zip(pair, (0, 1), strict=True):
        for seed, row in enumerate(rows):
            row["val_error"] = 5.0 if seed % 2 == preferred else 6.0
    needed, *_ = judged("E1", scratch, *pair).contrasts
    expected = [
        12 + NOISE[0][seed] - ((11 + NOISE[1][seed]) if seed % 2 else (13 + NOISE[2][seed]))
        for seed in range(5)
    ]
    assert needed["values"] == pytest.approx(expected)
    assert "for 3 seeds" in needed["text"] and "large (full) for 2 seeds" in needed["text"]


def test_without_validation_nothing_is_chosen():
    pair = [*taught({40: 11.0}), *taught({40: 13.0}, key=2, stop="schedule 10/35")]
    unknown = [[{**row, "val_error": None} for row in rows] for rows in pair]
    actual = judged("E1", *alone({120: 12.0}), *unknown)
    assert actual.verdict == "not tested" and "nothing to choose a teacher by" in actual.reason


def test_the_path_has_a_price_of_its_own():
    """1,000 operations more are 100 epochs more: 220."""
    cells = [*alone({120: 12.0, 220: 10.0}), *taught({40: 11.0})]
    assert judged("E1", *cells).verdict == "supports"
    path = judged("E1p", *cells)
    assert path.verdict == "contradicts" and "scratch of 220 epochs" in path.contrary


def test_runs_that_were_made_longer_for_a_price_are_rivals():
    long_run = run(12.0, 120, "scratch_long", 0, teacher="large", length=40)
    actual = judged("E1", *alone({40: 15.0}), long_run, *taught({40: 11.0}))
    assert actual.verdict == "supports" and len(actual.contrasts) == 1
    unknown = [
        [{**row, "train_macs": None} for row in rows]
        for rows in (*alone({40: 15.0}), *taught({40: 11.0}))
    ]
    assert "prices of training are not known" in judged("E1", *unknown).reason


# --- D1: numbers of images


def images(few, many, key, size=(500, 5000), **labels):
    """Students of one teacher with few and with all images."""
    facts = {"teacher_network": labels["teacher"], "kd_epochs": 40, **labels}
    return [
        run(mean, 40, "student", key + position, train_size=n, teacher_train_size=n, **facts)
        for position, (n, mean) in enumerate(zip(size, (few, many), strict=True))
    ]


@pytest.mark.parametrize(
    ("few", "many", "word"),
    [
        (17.0, 11.0, "supports"),  # gains 3 with few, -1 with all
        (21.0, 9.0, "contradicts"),  # -1 and 1
        (19.0, 9.0, "no worthwhile difference"),
    ],
)
@pytest.mark.parametrize("arm", ["smaller", "earlier stopped"])
def test_gains_with_few_images_are_compared_with_those_with_all(few, many, word, arm):
    large = images(20.0, 10.0, 0, teacher="large")
    labels = {"teacher": "mid"} if arm == "smaller" else {"teacher": "large", "stop": "schedule 9"}
    actual = judged("D1", *large, *images(few, many, 1, **labels))
    assert actual.verdict == word, actual
    (contrast,) = actual.contrasts
    assert contrast["text"] == f"gain of the {arm} teacher with few images - with all"
    noise = [a - b - b + c for a, b, c in zip(*NOISE[:3], strict=True)]
    expected = (20.0 - few) - (10.0 - many)
    assert contrast["values"] == pytest.approx([expected + part for part in noise])


def test_both_are_needed_where_both_are_there_and_one_size_is_no_test():
    large, mid = images(20.0, 10.0, 0, teacher="large"), images(17.0, 11.0, 1, teacher="mid")
    early = images(21.0, 9.0, 1, teacher="large", stop="schedule 9")
    both = judged("D1", *large, *mid, *early)
    assert both.verdict == "contradicts" and "earlier stopped" in both.contrary
    assert judged("D1", *large[:1], *mid[:1]).verdict == "not tested"


# --- the study of lengths


def test_the_study_of_lengths_can_test_its_primary_claims():
    study = load.load_study(Path(__file__).parents[3] / "studies" / "fashion_lengths.yaml")
    assert study.primary == ["E1", "E2", "E3", "E4"]
    findings = register.simulate_findings(study)
    untestable = {
        key: findings[key] for key in study.primary if not hasattr(findings[key], "contrasts")
    }
    assert untestable == {}
    # 30 epochs with the answers of wrn16-2 cost 297 of scratch: 240 cost less, 480 more.
    directions = [(c.tells, c.text.split()[3]) for c in findings["E1"].contrasts]
    assert directions[:2] == [("contrary", "240"), ("support", "480")]
    assert "epochs on labels alone have its price" in findings["E1"].undecided
    (needed,) = findings["E2"].needed_contrasts
    assert "schedule 120 (longer)" in needed.text and "30 and 480 epochs" in needed.text

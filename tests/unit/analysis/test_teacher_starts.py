"""F1 and F2 on made data: teachers of one network, probed, fine-tuned and from random weights."""

import pandas as pd
import pytest
from helpers import tiny_study
from helpers.small_plans import block
from helpers.synthetic_frames import cell, frame
from scipy import stats

from kdpipe.analysis.claim import evaluate_claim, judge_findings, load_claims
from kdpipe.analysis.dataframe import build_results_frame
from kdpipe.analysis.preregistration.register import SimulatedStore, simulate_findings
from kdpipe.config import load
from kdpipe.plan import planner

NO_CURVES = pd.DataFrame(columns=["run", "epoch", "lr", "val_error"])
NOISE = {
    "probed": [0.00, 0.11, -0.07, 0.05, -0.09],
    "fine-tuned": [0.08, -0.06, 0.02, -0.10, 0.06],
    "at random": [-0.03, 0.07, 0.09, -0.08, -0.05],
}


def judged(claim, *cells, delta=0.5):
    facts = load_claims()[claim]
    finding = evaluate_claim(facts, frame(*cells), NO_CURVES, delta)
    return judge_findings({claim: (facts.title, facts.primary, finding)})[0]


def taught(start, mean, teacher=None, network="lite", validation=None, **labels):
    """Students of a teacher that begins in one way, and the rows of that teacher."""
    teacher = teacher or start.replace(" ", "-")
    names = {"teacher": teacher, "teacher_network": teacher}
    errors = [mean + noise for noise in NOISE[start]]
    known = [validation or mean] * len(errors)
    students = cell(errors, val_error=known, **names, **labels)
    runs = [f"teacher-{teacher}-s{seed}" for seed in range(len(errors))]
    about = {"network": network, "start": start} if network else {}
    return [students, cell([9.0] * len(errors), kind="teacher", run=runs, **names, **about)]


@pytest.mark.parametrize(
    ("probed", "verdict"), [(11.0, "supports"), (12.3, "supports"), (13.0, "contradicts")]
)
def test_a_probed_teacher_may_be_worse_by_less_than_the_smallest_effect(probed, verdict):
    actual = judged("F1", *taught("fine-tuned", 12.0), *taught("probed", probed))
    assert actual.verdict == verdict, actual
    noise = zip(NOISE["fine-tuned"], NOISE["probed"], strict=True)
    values = [12.0 - probed + a - b for a, b in noise]
    assert actual.contrasts[0]["values"] == pytest.approx(values)
    test = stats.ttest_1samp(values, -0.5, alternative="greater")
    assert actual.p == pytest.approx(test.pvalue)
    assert actual.contrasts[0]["text"].endswith("fine-tuned - probed: small from lite")
    assert actual.reason == "kd, small from lite as fine-tuned and probed"


@pytest.mark.parametrize(
    ("tuned", "verdict", "size"),
    [
        (10.0, "supports", "worth having"),
        (14.0, "contradicts", "worth having"),
        (12.0, "no worthwhile difference", "less than worth having"),
    ],
)
def test_a_fine_tuned_teacher_is_compared_with_the_same_network_at_random(tuned, verdict, size):
    actual = judged("F2", *taught("at random", 12.0), *taught("fine-tuned", tuned))
    assert (actual.verdict, actual.size) == (verdict, size), actual
    noise = zip(NOISE["at random"], NOISE["fine-tuned"], strict=True)
    values = [12.0 - tuned + a - b for a, b in noise]
    test = stats.ttest_1samp(values, 0, alternative="greater")
    assert actual.p == pytest.approx(test.pvalue)


def test_a_teacher_without_a_start_is_its_network_at_random():
    plain = taught("at random", 12.0, teacher="lite", network=None)
    assert judged("F2", *plain, *taught("fine-tuned", 10.0)).verdict == "supports"
    other = taught("at random", 12.0, teacher="mid", network=None)
    assert judged("F2", *other, *taught("fine-tuned", 10.0)).verdict == "not tested"


def test_only_teachers_of_one_network_are_compared():
    actual = judged("F1", *taught("fine-tuned", 12.0), *taught("probed", 11.0, network="other"))
    assert actual.verdict == "not tested"
    assert "one network in two ways, fine-tuned and probed" in actual.reason
    alone = judged("F1", *taught("fine-tuned", 12.0))
    assert alone.verdict == "not tested"


def test_validation_chooses_among_teachers_that_begin_alike():
    better = taught("fine-tuned", 13.0, teacher="slow", validation=8.0)
    cells = [*taught("fine-tuned", 10.0, teacher="fast", validation=9.0), *better]
    actual = judged("F1", *cells, *taught("probed", 11.0, validation=7.0))
    assert actual.effect == pytest.approx(2.0, abs=0.1)  # slow, though fast has less test error
    assert actual.reason.endswith("as slow and probed")


def test_students_of_each_length_count_alike():
    short, long = ({"length": n, "epochs": n, "kd_epochs": n} for n in (30, 120))
    cells = [*taught("fine-tuned", 12.0, **short), *taught("probed", 11.0, **short)]
    cells += [*taught("fine-tuned", 12.0, **long), *taught("probed", 14.0, **long)]
    actual = judged("F1", *cells)
    main, *others = actual.contrasts
    assert main["text"].endswith("mean over cells") and main["needed"]
    assert main["effect"] == pytest.approx((1.0 - 2.0) / 2, abs=0.1)
    assert [other["needed"] for other in others] == [False, False]
    assert others[1]["effect"] == pytest.approx(-2.0, abs=0.1)


def test_a_stopped_teacher_takes_no_part():
    stopped = taught("probed", 11.0, stop="checkpoint 5")
    assert judged("F1", *taught("fine-tuned", 12.0), *stopped).verdict == "not tested"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    path.write_bytes(b"")  # a plan does not read it
    weights = {"network": "wrn10-1", "path": str(path), "sha256": "0" * 64}
    starts = {"tuned": {}, "probe": {"probe": True}, "random": {"new": ["*"]}}
    content = tiny_study.study(
        seeds=[0, 1, 2],
        methods={"kd": {}},
        starts={name: weights | keys for name, keys in starts.items()},
    )
    experiments = [block(teachers=["tuned", "probe", "random", "wrn10-1"], epochs=[2, 4])]
    return load.validate_study(content | {"experiments": experiments}, "f")


def test_the_results_say_how_a_teacher_begins(study):
    plan = planner.build_plan(study)
    rows = build_results_frame(plan, SimulatedStore(plan=plan))
    teachers = rows.loc[rows.kind == "teacher"].drop_duplicates("teacher").set_index("teacher")
    assert teachers.start.drop("wrn10-1").to_dict() == {
        "tuned": "fine-tuned",
        "probe": "probed",
        "random": "at random",
    }
    assert set(teachers.network.dropna()) == {"wrn10-1"} and pd.isna(teachers.start["wrn10-1"])


def test_a_plan_knows_the_contrasts_of_both(study):
    findings = simulate_findings(study)
    for claim, teachers in {"F1": "tuned and probe", "F2": "wrn10-1"}.items():
        finding = findings[claim]
        assert finding.contrasts[0].text.endswith("mean over cells"), finding
        assert teachers in finding.description

"""The made studies of the claims E, D and N: their truth and images, and one through the judge."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, special

from kdpipe.analysis.claim import judge_claims

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def rates():
    """The module of the benchmark, which lies outside the package."""
    sys.path.insert(0, str(BENCHMARKS))
    import error_rates

    yield error_rates
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def lengths(rates):
    return sys.modules["simulated_lengths"]


@pytest.fixture(scope="module")
def strong(lengths):
    """Studies with two smallest effects, of many images and no shift of a run."""
    noise = {"seeds": 2, "images": 40_000, "validation": 10, "shift": 0.0}
    return lengths.LengthStudies(lengths.LengthSetting("strong", effect=2.0, **noise))


def test_every_claim_is_at_its_border_or_true_by_the_effect(rates, lengths, strong, monkeypatch):
    monkeypatch.setattr(lengths, "RHO_STUDIES", 1)
    null = rates._truths(lengths.LengthStudies(lengths.LengthSetting("null")))
    assert list(null) == [key for key in rates.load_claims() if key in lengths.CLAIMS]
    for truth in null.values():
        assert not truth["supports"] and not truth["contradicts"]
        assert truth["sizes"] == pytest.approx([0.0] * len(truth["sizes"]), abs=1e-9)
    true = rates._truths(strong)
    for key, truth in true.items():
        assert truth["supports"] and not truth["contradicts"], key
        if key not in ("N1", "N2"):
            assert min(truth["sizes"]) == pytest.approx(2.0), key
    # With the prices of the study a cheaper and a dearer rival, and one of just the price.
    rivals = [text.partition(", - KD")[0] for text in true["E1"]["effects"]]
    assert {text.rpartition("cost ")[2] for text in rivals} == {"as much", "less", "more"}


def test_students_share_with_their_teachers_what_the_truth_says(strong):
    """Shares of images that both get wrong: drawn ones, and an integral over what is shared."""

    def share_of_both(first, second, correlation):
        def at(z):
            inner = np.sqrt(1 - correlation)
            ends = (special.ndtri([first, second]) - np.sqrt(correlation) * z) / inner
            return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * special.ndtr(ends).prod()

        return integrate.quad(at, -8, 8)[0]

    s, gaps, copied = strong.setting, [], []
    strong.draw(np.random.default_rng(5))
    wrong = strong.wrong.reshape(len(strong.cells), s.seeds, -1)
    for number, cell in enumerate(strong.cells):
        teacher = strong.teacher[number]
        if cell["kind"] != "student" or cell["stop"] not in ("full", "schedule 120 (longer)"):
            continue
        own = s.taste**2 + s.luck**2
        alone = s.difficulty**2 / (s.difficulty**2 + own)
        correlation = alone + strong.strength[number] * (1 - alone)
        errors = [strong.errors[n] / 100 for n in (teacher, number)]
        expected = share_of_both(*errors, correlation)
        gaps.append((wrong[number] & wrong[teacher]).mean() - expected)
        copied.append(expected - share_of_both(*errors, alone))
        assert wrong[number].mean() == pytest.approx(errors[1], abs=0.004)
    assert len(gaps) == 19 and np.mean(copied) > 0.003
    assert abs(np.mean(gaps)) < 0.001


def test_what_is_measured_is_the_mean_over_its_images(lengths):
    studies = lengths.LengthStudies(lengths.LengthSetting("null", seeds=3))
    frame, curves = studies.draw(np.random.default_rng(0))
    again, _ = studies.draw(np.random.default_rng(0))
    assert frame.equals(again) and not frame[["run", "stop"]].duplicated().any()
    known = frame.loc[~((frame.kind == "teacher") & (frame.stop_kind == "checkpoint"))]
    assert len(known) == len(studies.rows) == known.run.nunique()
    for run, row in known.set_index("run").iterrows():
        assert 100 * studies.load_images(run).mean() == pytest.approx(row.test_error)
    taught = frame.loc[frame.kind == "student"]
    assert set(taught.teacher_run) <= set(frame.run[frame.kind == "teacher"])
    assert set(curves.run) == set(frame.run[frame.kind == "teacher"])
    assert all(
        run.endswith(f"s{seed}") for run, seed in zip(taught.teacher_run, taught.seed, strict=True)
    )
    assert studies.load_images("none") is None


def test_a_study_goes_through_the_judge_and_into_the_tables(rates, lengths):
    setting = rates.LENGTH_SETTINGS[0]
    result = rates.simulate(setting, 1)
    counts = result["counts"]
    for key in lengths.CLAIMS:
        assert sum(counts.get(f"{key}: {verdict}", 0) for verdict in rates.SETTLED) <= 1
        assert 0 <= counts[f"wider {key}"] <= counts[f"of {key}"]
    untested = {key for key in lengths.CLAIMS if counts.get(f"{key}: not tested")}
    assert untested <= {"E1", "E1p"}
    tables = rates.tabulate({setting.name: result})
    assert tables.count(f"| {setting.name} |") == 4 and "## Claims of lengths" in tables


def test_claims_that_are_not_judged_count_in_no_family(lengths):
    studies = lengths.LengthStudies(lengths.LengthSetting("null", seeds=3))
    study = studies.draw(np.random.default_rng(1))
    masks = {"error_masks": studies.load_images}
    (alone,) = judge_claims(*study, 1.0, **masks, claims=["E2"])
    both = judge_claims(*study, 1.0, **masks, claims=["E2", "E4"])
    assert alone.id == "E2" and alone.tests == 2
    assert [one.id for one in both] == ["E2", "E4"] and both[0].tests == 4


def test_a_probed_teacher_at_the_border_neither_supports_nor_contradicts(rates):
    """F1 and F2: their truth by hand, and studies of many seeds through the judge."""
    at_border, equal, better = (
        rates._truths(rates.StartStudies(rates.StartSetting("any", lost=lost, effect=effect)))
        for lost, effect in ((1.0, 0.0), (0.0, 0.0), (2.0, 2.0))
    )
    says = [
        [(truth[key]["supports"], truth[key]["contradicts"]) for key in ("F1", "F2")]
        for truth in (at_border, equal, better)
    ]
    assert says[0] == [(False, False), (False, False)]
    assert says[1] == [(True, False), (False, False)]
    assert says[2] == [(False, True), (True, False)]
    means = {key: next(iter(truth["effects"].values())) for key, truth in better.items()}
    assert means == pytest.approx({"F1": -2.0, "F2": 2.0})
    setting = rates.StartSetting("F: fine-tuned better by two", seeds=12, lost=2.0, effect=2.0)
    result = rates.simulate(setting, 3)
    assert result["counts"]["F1: contradicts"] == result["counts"]["F2: supports"] == 3
    assert "| fine-tuned better by two | 3 |" in rates.tabulate({setting.name: result})

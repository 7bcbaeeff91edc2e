"""A study whose metric is balanced accuracy or macro F1: what it chooses, judges and stores."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import tiny_study
from helpers import unbalanced_study as unbalanced
from sklearn import metrics as sklearn_metrics

from kdpipe import hashing
from kdpipe.analysis import claim, dataframe, eval_point, recommendation
from kdpipe.analysis.claim import Finding
from kdpipe.analysis.dataframe import add_error_provenance, normalize_frame
from kdpipe.analysis.per_image import PerImageMetrics
from kdpipe.analysis.preregistration import power_report, register
from kdpipe.analysis.search import rounds, worth
from kdpipe.jobs.train import train_run
from kdpipe.report import render, table
from kdpipe.report.figures import cost
from kdpipe.report.format import format_answer, format_headline
from kdpipe.report.page import describe_choice
from kdpipe.report.render import render_report
from kdpipe.runs.integrity.archive import archive_study
from kdpipe.runs.integrity.verify import verify_store
from kdpipe.runs.records import EVAL_POINTS
from kdpipe.runs.store import Store
from kdpipe.stats.error_provenance import ImageQuantity, estimate_image_level

ROOT = Path(__file__).parents[3]
BEST_CELL = {"top1": "kd", "balanced": "hot", "macro_f1": "hot"}
SKLEARN = {
    "top1": sklearn_metrics.accuracy_score,
    "balanced": sklearn_metrics.balanced_accuracy_score,
    "macro_f1": lambda labels, predicted: sklearn_metrics.f1_score(
        labels, predicted, average="macro"
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The results of the unbalanced study, which no metric renames."""
    result = Store(tmp_path_factory.mktemp("unbalanced") / "results")
    unbalanced.write(unbalanced.plan(), result)
    return result


def sorted_runs(plan, arm):
    """Return the runs of one arm by seed, without those of the ensemble alone."""
    runs = {run.seed: run for run in plan.runs.values() if unbalanced.get_arm(run) == arm}
    return [runs[seed] for seed in plan.study.seeds]


@pytest.mark.parametrize("metric", BEST_CELL)
@pytest.mark.parametrize("point", EVAL_POINTS)
def test_errors_are_those_of_scikit_learn(store, metric, point):
    plan = unbalanced.plan(metric=metric)
    frame = eval_point.select_eval_point(dataframe.build_results_frame(plan, store), point)
    rows = frame.loc[frame.kind.isin(["scratch", "student"])].drop_duplicates("run")
    assert len(rows) == 15
    for row in rows.itertuples():
        for split in ("val", "test"):
            predicted = unbalanced.draw_predictions(plan.runs[row.run], point, split)
            expected, top1 = (
                100 * (1 - SKLEARN[name](unbalanced.LABELS, predicted)) for name in (metric, "top1")
            )
            assert getattr(row, f"{split}_error") == pytest.approx(expected)
            if metric != "top1":
                assert getattr(row, f"{split}_top1_error") == pytest.approx(top1)
    assert ("metric" in frame) == (metric != "top1")
    assert any("top1" in str(column) for column in frame) == (metric != "top1")


@pytest.mark.parametrize("metric", BEST_CELL)
def test_what_ships_follows_the_metric(store, metric):
    plan = unbalanced.plan(metric=metric)
    frame, (answer,) = recommendation.recommend_for_plan(plan, store)
    assert dict(answer.shipped.entrant.key)["method"] == BEST_CELL[metric]
    name = recommendation.select_runs_to_ship(normalize_frame(frame), [answer])["wrn10-0.5"]
    assert unbalanced.get_arm(plan.runs[name]) == BEST_CELL[metric]  # that is `export --best`
    word = {"top1": "% error", "balanced": "% balanced error", "macro_f1": "% macro-F1 error"}
    assert word[metric] in format_headline(answer)
    first, _ = format_answer(answer)  # the last lines of kdpipe run
    assert first.endswith(f"{word[metric]}.")
    name = {"top1": "accuracy", "balanced": "balanced accuracy", "macro_f1": "macro F1"}
    value = 100 - answer.shipped.entrant.test.mean
    text = describe_choice(answer.shipped, False, answer.metric)
    assert f"({name[metric]} {value:.2f} %)" in text
    figure, _ = cost.plot_cost(normalize_frame(frame), pd.DataFrame())
    assert figure.axes[0].get_ylabel().startswith(f"{name[metric]} on test, %")


@pytest.mark.parametrize("metric", ["balanced", "macro_f1"])
def test_a_registration_lists_the_same_contrasts_by_any_metric(metric):
    """What a claim compares is found in simulated numbers, of which no predictions are stored."""
    main = {"teachers": ["wrn10-1", "wrn10-2"], "stops": ["full", "checkpoint 1"]}
    study = tiny_study.planned(seeds=[0, 1, 2, 3, 4], main=main).study
    expected, findings = (
        register.simulate_findings(each)
        for each in (study, study.model_copy(update={"metric": metric}))
    )
    tested = [key for key, finding in expected.items() if isinstance(finding, Finding)]
    assert {"C1", "C2", "C11c"} <= {*tested}
    for key, finding in findings.items():
        assert isinstance(finding, Finding) == (key in tested), (key, finding)
        if key in tested:
            for contrast, other in zip(finding.contrasts, expected[key].contrasts, strict=True):
                assert contrast.text == other.text
                assert contrast.values.tolist() == other.values.tolist()


def test_simulated_records_on_which_custom_tables_are_tried_have_errors_by_the_metric():
    plan, by_top1 = (unbalanced.plan(metric=metric) for metric in ("balanced", "top1"))
    frame, expected = (
        dataframe.build_results_frame(each, register.SimulatedStore(plan=each))
        for each in (plan, by_top1)
    )
    for column in ("val_error", "test_error", "best_val_error", "teacher_test_error"):
        assert expected[column].notna().any()
        assert frame[column].tolist() == pytest.approx(expected[column].tolist(), nan_ok=True)
    assert frame.test_top1_error.notna().any() and "test_top1_error" not in expected


@pytest.mark.parametrize("metric", BEST_CELL)
def test_power_is_from_a_pilot_by_the_metric_of_the_study(store, metric, tmp_path):
    """The pilot itself is by top-1; the difference of C2 varies over seeds as scikit-learn's."""
    tiny_study.write(tmp_path / "pilot.yaml", unbalanced.STUDY)
    plan = unbalanced.plan(metric=metric)
    spread = power_report.estimate_pilot_spreads("unbalanced", tmp_path, store, plan.study)["C2"]
    kd, scratch = (
        np.array(
            [
                SKLEARN[metric](unbalanced.LABELS, unbalanced.draw_predictions(run, "last", "test"))
                for run in sorted_runs(plan, arm)
            ]
        )
        for arm in ("kd", "scratch")
    )
    assert spread.seed + spread.both == pytest.approx(np.var(100 * (scratch - kd), ddof=1))


@pytest.mark.parametrize("metric", BEST_CELL)
def test_what_a_search_can_find_is_by_the_metric_of_the_study(store, metric, tmp_path):
    """The spread of a pilot by top-1 is that of the same pilot by the study's metric."""
    spreads = []
    for pilot_metric in ("top1", metric):
        folder = tmp_path / pilot_metric
        folder.mkdir(exist_ok=True)
        tiny_study.write(folder / "pilot.yaml", unbalanced.STUDY | {"metric": pilot_metric})
        study = unbalanced.plan(metric=metric).study
        spreads.append(worth.estimate_pilot_spread("unbalanced", folder, store, study))
    by_top1 = unbalanced.plan(metric="top1").study
    other = worth.estimate_pilot_spread("unbalanced", folder, store, by_top1)
    assert spreads[0] == spreads[1] and (spreads[0] == other) == (metric == "top1")


def judge(store, **changes):
    plan = unbalanced.plan(**changes)
    study = plan.study
    verdicts = claim.judge_both_eval_points(
        dataframe.build_results_frame(plan, store),
        dataframe.build_curves_frame(plan, store),
        study.smallest_effect,
        study.reading,
        error_masks={point: PerImageMetrics(plan, store, point).load_part for point in EVAL_POINTS},
        primary=["C2"],
    )
    return {verdict.id: verdict for verdict in verdicts}


@pytest.mark.parametrize("metric", BEST_CELL)
def test_claims_are_judged_by_the_metric(store, metric):
    """C2, KD does harm: what it adds to the error, over seeds, against scikit-learn."""
    verdict = judge(store, metric=metric)["C2"]
    plan = unbalanced.plan(metric=metric)
    kd, scratch = (
        [
            SKLEARN[metric](unbalanced.LABELS, unbalanced.draw_predictions(run, "last", "test"))
            for run in sorted_runs(plan, arm)
        ]
        for arm in ("kd", "scratch")
    )
    expected = 100 * (np.mean(scratch) - np.mean(kd))
    assert verdict.effect == pytest.approx(expected)
    # The gain is in the large class, a tenth of balanced error.
    assert verdict.verdict == ("contradicts" if metric == "top1" else "cannot tell")


@pytest.mark.parametrize("metric", ["balanced", "macro_f1"])
def test_a_best_epoch_by_top_1_is_no_conflict_of_readings(store, metric, tmp_path):
    """At the best epoch the taught networks are worse by the metric, and the verdict another."""
    verdict, by_top1 = judge(store, metric=metric)["C2"], judge(store)["C2"]
    assert "the best epoch by top-1 on validation" in verdict.beside.words
    assert verdict.beside.verdict != verdict.verdict and not verdict.beside.differs
    assert by_top1.beside.differs
    assert "the best epoch on validation" in by_top1.beside.words
    plan = unbalanced.plan(metric=metric)
    page = (render_report(plan, store, tmp_path / metric) / "index.md").read_text()
    assert "best epoch by top-1 on validation" in page
    assert (
        "The evaluation points differ" not in page and "(the evaluation points differ)" not in page
    )


def test_the_page_has_top_1_beside_the_metric(store, tmp_path):
    pages = {}
    for metric in BEST_CELL:
        folder = render_report(unbalanced.plan(metric=metric), store, tmp_path / metric)
        pages[metric] = (folder / "index.md").read_text()
        assert (folder / "tables/top1.csv").exists() == (metric != "top1")
    table = pd.read_csv(tmp_path / "balanced/tables/top1.csv")
    cell = table.loc[table.method == "hot"].iloc[0]
    plan = unbalanced.plan()
    runs = [run for run in plan.runs.values() if unbalanced.get_arm(run) == "hot"]
    predicted = [unbalanced.draw_predictions(run, "last", "test") for run in runs]
    for column, metric in (("error", "balanced"), ("top1_error", "top1")):
        errors = [100 * (1 - SKLEARN[metric](unbalanced.LABELS, each)) for each in predicted]
        assert cell[column] == pytest.approx(np.mean(errors))
    assert "Errors are by" in pages["balanced"] and "Errors are by" not in pages["top1"]


@pytest.mark.parametrize("metric", ["top1", "balanced"])
def test_an_export_in_a_published_report_is_compared_with_its_record_by_top_1(
    store, metric, tmp_path
):
    """Its files have been trained again, and the record has top-1 of the same images."""
    plan = unbalanced.plan(metric=metric)
    frame = eval_point.select_eval_point(dataframe.build_results_frame(plan, store), "last")
    run = sorted_runs(plan, "hot")[0]
    config = json.loads(
        next((ROOT / "reports/published").glob("*/export/*/config.json")).read_bytes()
    )
    config["measured"]["files"]["model.onnx"]["accuracy"] = [75.0, 70, 80]
    folder = tmp_path / "export" / run.name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(hashing.add_checksum(config)))
    report = SimpleNamespace(
        weight_paths={"small": f"runs/{run.name}/weights"}, frame=frame, plan=plan
    )
    text = render._find_exported(report, store, tmp_path)["small"].text
    predicted = unbalanced.draw_predictions(run, "last", "test")
    top1 = 100 * np.mean(predicted != unbalanced.LABELS)
    name = "test error" if metric == "top1" else "top-1 test error"
    assert text.endswith(f"as the result: {name} 25.00 %, {top1:.2f} % in the record.")


def test_the_errors_of_probes_are_called_top_1_whatever_the_metric():
    frame = dataframe.build_results_frame(unbalanced.plan(metric="balanced"), Store(Path("none")))
    captions = {
        name: table.render_table_by_name(name, frame).caption for name in ("transfer", "methods")
    }
    assert captions["transfer"].startswith("Top-1 test error in points")
    assert captions["methods"].startswith("Balanced test error in points")


@pytest.mark.parametrize("metric", BEST_CELL)
def test_a_search_compares_cells_by_the_metric(store, metric):
    plan = unbalanced.plan(metric=metric)
    records = rounds.SearchRecords(plan, store)
    for arm in ("kd", "hot"):
        for run in sorted_runs(plan, arm):
            predicted = unbalanced.draw_predictions(run, "last", "val")
            expected = 100 * (1 - SKLEARN[metric](unbalanced.LABELS, predicted))
            assert records.get_error(run) == pytest.approx(expected)


@pytest.mark.parametrize(("metric", "best"), [("top1", "kd"), ("balanced", "hot")])
def test_a_whole_search_chooses_by_the_metric(tmp_path, metric, best):
    """Round by round from records, to its end: the winner, its report, and what ships differ."""
    store = Store(tmp_path / "results")
    keys = {"seeds": [0, 1, 2, 3, 4, 5], "search": {"blocks": ["main"], "fresh_seeds": 3}}
    study = unbalanced.plan(**keys, metric=metric, ensembles={}, tables={}).study
    for _ in range(10):
        due = rounds.plan_due_runs(study, store)
        unbalanced.write(due, store)
        state = rounds.get_search_state(study, store)
        if state.current_round is None:
            break
    else:
        raise AssertionError("the search does not end")
    (winner,) = state.winners.values()
    assert winner.method == best
    # The fresh seeds are the winner's, and validation errors are those of scikit-learn.
    plan = rounds.plan_due_runs(study, store)
    fresh = {run.seed for run in plan.runs.values() if unbalanced.get_arm(run) == best}
    assert fresh >= {3, 4, 5}
    (answer,) = recommendation.recommend_for_plan(plan, store)[1]
    assert answer.side == "taught" and answer.taught.settings.startswith(best)


def test_a_metric_renames_runs_only_where_the_best_epoch_is_read():
    plain, best = unbalanced.plan(), unbalanced.plan(reading="best")
    for metric in BEST_CELL:
        assert unbalanced.plan(metric=metric).runs.keys() == plain.runs.keys()
        names = unbalanced.plan(metric=metric, reading="best").runs.keys()
        if metric == "top1":
            assert names == best.runs.keys() == plain.runs.keys()
        else:
            assert names.isdisjoint(plain.runs.keys())
    assert all("metric" not in run.spec.to_dict() for run in best.runs.values())


@pytest.mark.parametrize("metric", ["balanced", "macro_f1"])
def test_a_trained_run_keeps_the_epoch_that_is_best_by_the_metric(metric, tmp_path, shared):
    plan = tiny_study.planned(
        metric=metric, reading="best", recipe={"epochs": 6, "drop_epochs": [3], "lr": 0.1}
    )
    run = next(iter(plan.runs.values()))
    store = tiny_study.results(tmp_path, shared)
    train_run(run.spec, [], store)
    record, curve = tiny_study.record(store, run), store.load_curve(run.name)
    values = [line["val"][metric] for line in curve]
    assert record["best"]["epoch"] == 1 + int(np.argmax(values))
    for point, value in (("best", max(values)), ("last", values[-1])):
        predicted, labels = PerImageMetrics(plan, store, point).load_predictions(run.name, "val")
        assert value == pytest.approx(SKLEARN[metric](labels, predicted))


@pytest.mark.parametrize("metric", ["balanced", "macro_f1"])
def test_a_report_from_an_archive_is_that_from_the_folder(store, metric, tmp_path):
    plan = unbalanced.plan(metric=metric)
    archive = Store(tmp_path / "archive")
    archive_study(plan, store, archive.root)
    assert list(verify_store(archive)) == []
    pd.testing.assert_frame_equal(
        dataframe.build_results_frame(plan, archive), dataframe.build_results_frame(plan, store)
    )
    for point in EVAL_POINTS:
        known, stored = (PerImageMetrics(plan, each, point) for each in (store, archive))
        for name in (*plan.runs, *plan.ensembles):
            for split in ("val", "test"):
                for mine, other in zip(
                    known.load_predictions(name, split),
                    stored.load_predictions(name, split),
                    strict=True,
                ):
                    assert np.array_equal(mine, other)


def test_an_archive_of_a_study_by_top_1_is_as_it_was(store, tmp_path):
    archive = Store(tmp_path / "archive")
    archive_study(unbalanced.plan(), store, archive.root)
    entries = archive.read_archive().values()
    assert not any("predictions" in (entry.per_image or {}) for entry in entries)


@pytest.mark.parametrize("metric", ["balanced", "macro_f1"])
def test_the_second_interval_resamples_the_images_of_each_class(store, metric):
    """The variance over images of a difference, against a bootstrap of the images of each class."""
    plan = unbalanced.plan(metric=metric)
    frame = eval_point.select_eval_point(dataframe.build_results_frame(plan, store), "last")
    frame = add_error_provenance(normalize_frame(frame))
    arms = {
        name: rows.set_index("seed").test_error
        for name, rows in (
            ("kd", frame.loc[frame.method == "kd"]),
            ("scratch", frame.loc[frame.kind == "scratch"]),
        )
    }
    masks = PerImageMetrics(plan, store, "last").load_part
    result = estimate_image_level(arms["kd"] - arms["scratch"], masks)
    assert result.estimate is not None, result.why
    # With the seeds held fixed, the mean over seeds of the per-image values is what is resampled.
    runs = {arm: sorted_runs(plan, arm) for arm in ("kd", "scratch")}
    predicted = {
        arm: np.stack([unbalanced.draw_predictions(run, "last", "test") for run in each])
        for arm, each in runs.items()
    }
    rng = np.random.default_rng(3)
    groups = [np.flatnonzero(label == unbalanced.LABELS) for label in range(10)]
    score = SKLEARN[metric]
    resampled = []
    for _ in range(400):
        drawn = np.concatenate([rng.choice(group, len(group)) for group in groups])
        labels = unbalanced.LABELS[drawn]
        resampled.append(
            100
            * np.mean(
                [
                    score(labels, b[drawn]) - score(labels, a[drawn])
                    for a, b in zip(predicted["kd"], predicted["scratch"], strict=True)
                ]
            )
        )
    values = np.mean(
        [
            masks(ImageQuantity(kd.name, "test_error"))
            - masks(ImageQuantity(scratch.name, "test_error"))
            for kd, scratch in zip(runs["kd"], runs["scratch"], strict=True)
        ],
        axis=0,
    )
    sd = np.sqrt(values.var(ddof=1) / len(values))
    # A bootstrap of n images has (n - 1) / n of the variance: a tenth less in classes of ten.
    assert np.std(resampled) / sd == pytest.approx(np.sqrt(0.9), rel=0.12)
    low, high = result.estimate.compute_interval(0.95)
    assert (high - low) / 2 >= 1.9 * sd


def test_balanced_error_of_balanced_data_is_top_1_to_the_last_digit(tmp_path, monkeypatch):
    monkeypatch.setattr(unbalanced, "SIZES", (30,) * 10)
    monkeypatch.setattr(unbalanced, "LABELS", np.repeat(np.arange(10), 30))
    store = Store(tmp_path / "results")
    unbalanced.write(unbalanced.plan(), store)
    by_metric = [
        dataframe.build_results_frame(unbalanced.plan(metric=metric), store)
        for metric in ("top1", "balanced")
    ]
    for column in ("val_error", "test_error", "best_val_error", "best_test_error"):
        assert by_metric[0][column].tolist() == by_metric[1][column].tolist()

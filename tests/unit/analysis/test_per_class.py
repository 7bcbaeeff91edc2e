"""Error by class of what was chosen, against scikit-learn and scipy on the same logits."""

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_study import COUNTS, made_store
from scipy import stats
from sklearn import metrics

from kdpipe.analysis import contest, dataframe, recommendation
from kdpipe.analysis.dataframe import filter_rows, normalize_frame
from kdpipe.analysis.eval_point import PerImageErrors
from kdpipe.analysis.per_class import MISSING_OUTPUTS_TEXT, compute_per_class_errors
from kdpipe.errors import StoreError
from kdpipe.report import render
from kdpipe.report.builtin_tables.by_class import describe_worst_class, render_class_table
from kdpipe.report.render import render_report
from kdpipe.runs import records
from kdpipe.runs.files import compute_file_info, write_arrays
from kdpipe.runs.integrity import archive
from kdpipe.runs.records import publish_record
from kdpipe.runs.store import Store
from kdpipe.stats.variance_components import decompose_variance

SIZES = [10, 40, 60, 0, 90, 100, 100, 100, 100, 100]  # of the test set: 700
LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(10), SIZES))
STUDENT = "wrn10-0.5"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A study in which one student, chosen and from scratch, has its outputs: by arm and seed."""
    folder = tmp_path_factory.mktemp("classes")
    plan, store = made_store(folder)
    frame = normalize_frame(dataframe.build_results_frame(plan, store))
    answers = recommendation.recommend_options(frame)
    (actual,) = (one for one in answers if one.student == STUDENT)
    arms = {}
    option = {name: actual.taught.entrant.key[name] for name in contest.OPTION_COLUMNS}
    for kind, labels in (("student", option), ("scratch", {})):
        rows = filter_rows(frame, kind=kind, student=STUDENT, **labels).drop_duplicates("run")
        arms[kind] = {
            row.seed: (row.run, outputs(plan, store, row.run)) for row in rows.itertuples()
        }
    return plan, store, frame, answers, arms


@pytest.fixture
def no_figures(monkeypatch):
    """They take half of the time of a page, and are of no interest here."""
    monkeypatch.setattr(render, "submit_figures", lambda *_, **__: {})


def outputs(plan, store, name) -> np.ndarray:
    """Logits (700, 10) of a run, which are wrong as often as its record says; written beside it."""
    record, run = store.load_records("runs")[name], plan.runs[name]
    random = np.random.default_rng(len(name) + run.seed)
    logits = random.normal(0, 0.1, (COUNTS["test"], 10)).astype(np.float32)
    logits[:, 3] -= 9  # there is no such image
    logits[np.arange(700), LABELS] += 5
    errors = random.permutation(700)[: round(700 * (1 - record["last"]["test"]["accuracy"]))]
    logits[errors, LABELS[errors]] -= 10
    path = store.run(name) / "outputs.safetensors"
    arrays = {"test_logits": logits, "test_labels": LABELS}
    write_arrays(path, arrays, {"run": run.digest, "epoch": run.epochs})
    publish_record(
        path.parent, record | {"files": record["files"] | {path.name: compute_file_info(path)}}
    )
    return logits


def test_errors_differences_and_confusions_are_those_of_other_libraries(known):
    plan, store, frame, answers, arms = known
    actual = compute_per_class_errors(frame, answers, PerImageErrors(plan, store))[0]
    predicted = {
        kind: np.array([arm[seed][1].argmax(axis=1) for seed in sorted(arm)])
        for kind, arm in arms.items()
    }
    classes = [number for number in range(10) if number != 3]
    right = partial(metrics.recall_score, LABELS, average=None, labels=classes)
    recalls = {
        kind: 100 * np.array([1 - right(p) for p in each]) for kind, each in predicted.items()
    }
    ranked = sorted(range(9), key=lambda i: (-recalls["student"].mean(axis=0)[i], i))
    assert [one.class_index for one in actual.classes] == [classes[i] for i in ranked]
    for results_store, one in zip(ranked, actual.classes, strict=True):
        mine, reference = (recalls[kind][:, results_store] for kind in ("student", "scratch"))
        assert one.n_images == SIZES[one.class_index] and one.error.n == 5
        for s, values in ((one.error, mine), (one.scratch, reference)):
            interval = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
            assert (s.mean, s.low, s.high) == pytest.approx((values.mean(), *interval))
        held = stats.ttest_rel(mine, reference).confidence_interval(1 - 0.05 / 9)
        assert one.difference.mean == pytest.approx((mine - reference).mean())
        assert (one.difference.low, one.difference.high) == pytest.approx((held.low, held.high))
        of = one.class_index == LABELS
        grid = 100 * ((predicted["student"] != LABELS)[:, of] * 1.0)
        grid -= 100 * ((predicted["scratch"] != LABELS)[:, of] * 1.0)
        low, high = decompose_variance(grid, "seed", "image").compute_interval(1 - 0.05 / 9)
        assert (one.image_interval["low"], one.image_interval["high"]) == pytest.approx((low, high))
        for taken, kind in ((one.confusions, "student"), (one.scratch_confusions, "scratch")):
            matrix = sum(
                metrics.confusion_matrix(LABELS, p, labels=range(10)) for p in predicted[kind]
            )
            row = 100 * matrix[one.class_index] / SIZES[one.class_index] / 5
            row[one.class_index] = 0
            assert taken == pytest.approx({i: v for i, v in enumerate(row) if v})
            assert list(taken.values()) == sorted(taken.values(), reverse=True)
    balanced = {
        kind: np.array([100 - 100 * metrics.balanced_accuracy_score(LABELS, p) for p in ps])
        for kind, ps in predicted.items()
    }
    assert actual.balanced.mean == pytest.approx(balanced["student"].mean())
    assert actual.balanced_scratch.mean == pytest.approx(balanced["scratch"].mean())
    apart = stats.ttest_rel(*balanced.values()).confidence_interval(0.95)
    assert actual.balanced_difference.low == pytest.approx(apart.low)
    assert actual.has_unequal_classes


@pytest.mark.slow
def test_an_archive_says_the_same_and_an_older_one_that_it_is_not_kept(known, tmp_path, no_figures):
    plan, store, frame, answers, _ = known
    archive.archive_study(plan, store, tmp_path / "new")
    there = compute_per_class_errors(frame, answers, PerImageErrors(plan, Store(tmp_path / "new")))
    here = compute_per_class_errors(frame, answers, PerImageErrors(plan, store))
    assert repr(there) == repr(here)
    assert [one.reason for one in here] == [
        "",
        MISSING_OUTPUTS_TEXT,
        MISSING_OUTPUTS_TEXT,
    ]  # the others have no outputs
    path = tmp_path / "new" / records.ARCHIVE_FILE
    entries = records.read_archive(path)
    old = [records.ArchiveEntry(**vars(one) | {"missed": None}) for one in entries.values()]
    records.write_archive(path, old)
    older = compute_per_class_errors(frame, answers, PerImageErrors(plan, Store(tmp_path / "new")))
    assert {one.reason for one in older} == {MISSING_OUTPUTS_TEXT} and render_class_table(
        older, ()
    ) is None
    page = render_report(plan, Store(tmp_path / "new"), tmp_path / "report") / "index.html"
    assert (
        page.read_text().count(MISSING_OUTPUTS_TEXT) == 1
        and not (page.parent / "tables/by_class.md").exists()
    )
    archive.archive_study(plan, store, tmp_path / "new")  # made again of the outputs, it is kept
    assert records.read_archive(path) == entries
    one = next(one for one in entries.values() if one.missed)
    errors = PerImageErrors(plan, store).load_misclassified(one.name)
    # as archives were that had the labels of wrong images with each run, and no others
    earlier = one.missed | {"labels": errors.labels.tolist()}
    records.write_archive(path, [dataclasses.replace(one, missed=earlier, per_image=None)])
    actual = PerImageErrors(plan, Store(tmp_path / "new")).load_misclassified(one.name)
    assert actual.to_json() == errors.to_json()
    short = one.missed | {"predicted": one.missed["predicted"][1:]}
    for changes, reason in (({"missed": short}, "disagree"), ({}, "labels of the test images")):
        labels = [entry for entry in entries.values() if entry.kind == "labels"]
        altered = dataclasses.replace(one, **changes)
        records.write_archive(path, [altered, *(labels if changes else [])])
        with pytest.raises(StoreError, match=reason):
            PerImageErrors(plan, Store(tmp_path / "new")).load_misclassified(one.name)


def test_in_words_and_as_a_table_with_the_names_of_the_card(known):
    plan, store, frame, answers, _ = known
    actual = compute_per_class_errors(frame, answers, PerImageErrors(plan, store))
    names = (*"ab", "<b>|c_*", *"defghij")
    table = render_class_table(actual, names)
    worst = actual[0].classes[0]
    text = describe_worst_class(actual[0], names)
    assert text.startswith(f"{STUDENT}, taught, is worst on class {names[worst.class_index]}: ")
    assert "Balanced error (the mean over classes, of 10 to 100 test images each): " in text
    assert table.data["class"].tolist() == [one.class_index for one in actual[0].classes]
    assert table.data.error.tolist() == [one.error.mean for one in actual[0].classes]
    most = next(iter(worst.confusions))
    assert table.display["taken for"][0].startswith(f"{names[most]} (")
    assert "<b>|c_*" in table.display["class"].tolist()
    assert set(table.columns) <= set(table.data) and len(table.columns) == len(
        table.display.columns
    )


def test_of_a_student_without_scratch_runs_the_errors_are_told(known):
    plan, store, frame, answers, _ = known
    alone = frame.loc[frame.kind != "scratch"]
    (one, *_) = compute_per_class_errors(alone, answers, PerImageErrors(plan, store))
    assert one.classes[0].scratch is None and one.classes[0].error.n == 5
    text, table = describe_worst_class(one, ()), render_class_table([one], ())
    assert "scratch" not in text and table.display["from scratch"].tolist() == ["-"] * 9
    assert pd.isna(table.data.difference).all()


@pytest.mark.slow
def test_the_page_has_the_classes_of_the_chosen_and_the_path_of_the_table(
    known, tmp_path, no_figures
):
    plan, store, *_ = known
    folder = render_report(plan, store, tmp_path / "report")
    page = (folder / "index.html").read_text()
    assert 'id="by-class"' in page and 'download="by_class.csv"' in page
    table = pd.read_csv(folder / "tables" / "by_class.csv")
    assert table.student.unique().tolist() == [STUDENT] and len(table) == 9
    assert "## Error by class" in (folder / "index.md").read_text()

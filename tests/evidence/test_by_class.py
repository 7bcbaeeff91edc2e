"""Error by class of what was chosen, against scikit-learn and scipy on the same logits."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from made_study import COUNTS, made_store
from scipy import stats
from sklearn import metrics

from kdpipe.errors import StoreError
from kdpipe.evidence import frames
from kdpipe.evidence.advice import answer
from kdpipe.evidence.advice.by_class import NOT_KEPT, by_class
from kdpipe.evidence.reading import Outcomes
from kdpipe.evidence.selections import tidy, where
from kdpipe.report.render import render
from kdpipe.report.unasked.by_class import said, sheet
from kdpipe.results import archived
from kdpipe.results.files import file_facts, write_arrays
from kdpipe.results.records import publish
from kdpipe.results.store import Store
from kdpipe.statistics.components import crossed
from kdpipe.upkeep import archive

SIZES = [10, 40, 60, 0, 90, 100, 100, 100, 100, 100]  # of the test set: 700
LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(10), SIZES))
STUDENT = "wrn10-0.5"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A study in which one student, chosen and from scratch, has its outputs: by arm and seed."""
    folder = tmp_path_factory.mktemp("classes")
    plan, store = made_store(folder)
    frame = tidy(frames.frame(plan, store))
    answers = answer.answers(frame)
    (ours,) = (one for one in answers if one.student == STUDENT)
    arms = {}
    for kind, labels in (("student", ours.chosen), ("scratch", {})):
        rows = where(frame, kind=kind, student=STUDENT, **labels).drop_duplicates("run")
        arms[kind] = {
            row.seed: (row.run, outputs(plan, store, row.run)) for row in rows.itertuples()
        }
    return plan, store, frame, answers, arms


def outputs(plan, store, name) -> np.ndarray:
    """Logits (700, 10) of a run, which are wrong as often as its record says; written beside it."""
    record, run = store.records("runs")[name], plan.runs[name]
    random = np.random.default_rng(len(name) + run.seed)
    logits = random.normal(0, 0.1, (COUNTS["test"], 10)).astype(np.float32)
    logits[:, 3] -= 9  # there is no such image
    logits[np.arange(700), LABELS] += 5
    wrong = random.permutation(700)[: round(700 * (1 - record["last"]["test"]["accuracy"]))]
    logits[wrong, LABELS[wrong]] -= 10
    path = store.run(name) / "outputs.safetensors"
    arrays = {"test_logits": logits, "test_labels": LABELS}
    write_arrays(path, arrays, {"run": run.digest, "epoch": run.epochs})
    publish(path.parent, record | {"files": record["files"] | {path.name: file_facts(path)}})
    return logits


def test_errors_differences_and_confusions_are_those_of_other_libraries(known):
    plan, store, frame, answers, arms = known
    found = by_class(frame, answers, Outcomes(plan, store))[0]
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
    assert [one.number for one in found.classes] == [classes[i] for i in ranked]
    for place, one in zip(ranked, found.classes, strict=True):
        mine, theirs = (recalls[kind][:, place] for kind in ("student", "scratch"))
        assert one.images == SIZES[one.number] and one.error.n == 5
        for s, values in ((one.error, mine), (one.scratch, theirs)):
            interval = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
            assert (s.mean, s.low, s.high) == pytest.approx((values.mean(), *interval))
        held = stats.ttest_rel(mine, theirs).confidence_interval(1 - 0.05 / 9)
        assert one.difference.mean == pytest.approx((mine - theirs).mean())
        assert (one.difference.low, one.difference.high) == pytest.approx((held.low, held.high))
        of = one.number == LABELS
        grid = 100 * ((predicted["student"] != LABELS)[:, of] * 1.0)
        grid -= 100 * ((predicted["scratch"] != LABELS)[:, of] * 1.0)
        low, high = crossed(grid, "seed", "image").interval(1 - 0.05 / 9)
        assert (one.over_images["low"], one.over_images["high"]) == pytest.approx((low, high))
        for taken, kind in ((one.taken, "student"), (one.scratch_taken, "scratch")):
            matrix = sum(
                metrics.confusion_matrix(LABELS, p, labels=range(10)) for p in predicted[kind]
            )
            row = 100 * matrix[one.number] / SIZES[one.number] / 5
            row[one.number] = 0
            assert taken == pytest.approx({i: v for i, v in enumerate(row) if v})
            assert list(taken.values()) == sorted(taken.values(), reverse=True)
    balanced = {
        kind: np.array([100 - 100 * metrics.balanced_accuracy_score(LABELS, p) for p in ps])
        for kind, ps in predicted.items()
    }
    assert found.balanced.mean == pytest.approx(balanced["student"].mean())
    assert found.balanced_scratch.mean == pytest.approx(balanced["scratch"].mean())
    apart = stats.ttest_rel(*balanced.values()).confidence_interval(0.95)
    assert found.balanced_difference.low == pytest.approx(apart.low)
    assert found.differ_in_size


def test_an_archive_says_the_same_and_an_older_one_that_it_is_not_kept(known, tmp_path):
    plan, store, frame, answers, _ = known
    archive.write(plan, store, tmp_path / "new")
    there = by_class(frame, answers, Outcomes(plan, Store(tmp_path / "new")))
    here = by_class(frame, answers, Outcomes(plan, store))
    assert repr(there) == repr(here)
    assert [one.why for one in here] == ["", NOT_KEPT, NOT_KEPT]  # the others have no outputs
    path = tmp_path / "new" / archived.FILE
    entries = archived.read(path)
    old = [archived.Entry(**vars(one) | {"missed": None}) for one in entries.values()]
    archived.write(path, old)
    older = by_class(frame, answers, Outcomes(plan, Store(tmp_path / "new")))
    assert {one.why for one in older} == {NOT_KEPT} and sheet(older, ()) is None
    page = render(plan, Store(tmp_path / "new"), tmp_path / "report") / "index.html"
    assert (
        page.read_text().count(NOT_KEPT) == 1 and not (page.parent / "tables/by_class.md").exists()
    )
    archive.write(plan, store, tmp_path / "new")  # made again of the outputs, it is kept
    assert archived.read(path) == entries
    one = next(one for one in entries.values() if one.missed)
    short = one.missed | {"labels": one.missed["labels"][1:]}
    archived.write(path, [archived.Entry(**vars(one) | {"missed": short})])
    with pytest.raises(StoreError, match="disagree"):
        Outcomes(plan, Store(tmp_path / "new")).missed(one.name)


def test_in_words_and_as_a_table_with_the_names_of_the_card(known):
    plan, store, frame, answers, _ = known
    found = by_class(frame, answers, Outcomes(plan, store))
    names = (*"ab", "<b>|c_*", *"defghij")
    table = sheet(found, names)
    worst = found[0].classes[0]
    text = said(found[0], names)
    assert text.startswith(f"{STUDENT}, taught, is worst on class {names[worst.number]}: ")
    assert "Balanced error (the mean over classes, of 10 to 100 test images each): " in text
    assert table.data["class"].tolist() == [one.number for one in found[0].classes]
    assert table.data.error.tolist() == [one.error.mean for one in found[0].classes]
    most = next(iter(worst.taken))
    assert table.display["taken for"][0].startswith(f"{names[most]} (")
    assert "<b>|c_*" in table.display["class"].tolist()
    assert set(table.columns) <= set(table.data) and len(table.columns) == len(
        table.display.columns
    )


def test_of_a_student_without_scratch_runs_the_errors_are_told(known):
    plan, store, frame, answers, _ = known
    alone = frame.loc[frame.kind != "scratch"]
    (one, *_) = by_class(alone, answers, Outcomes(plan, store))
    assert one.classes[0].scratch is None and one.classes[0].error.n == 5
    text, table = said(one, ()), sheet([one], ())
    assert "scratch" not in text and table.display["from scratch"].tolist() == ["-"] * 9
    assert pd.isna(table.data.difference).all()


def test_the_page_has_the_classes_of_the_chosen_and_the_path_of_the_table(known, tmp_path):
    plan, store, *_ = known
    folder = render(plan, store, tmp_path / "report")
    page = (folder / "index.html").read_text()
    assert 'id="by-class"' in page and 'href="tables/by_class.csv"' in page
    table = pd.read_csv(folder / "tables" / "by_class.csv")
    assert table.student.unique().tolist() == [STUDENT] and len(table) == 9
    assert "## Error by class" in (folder / "index.md").read_text()

"""Both readings of a study: the frame, the verdicts, and which test images runs get wrong."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_frames import cell, frame
from helpers.synthetic_study import made_store
from scipy import stats

from kdpipe.analysis import dataframe, eval_point, recommendation
from kdpipe.analysis.claim import judge_both_eval_points, judge_claims, verdicts_to_json
from kdpipe.analysis.dataframe import add_error_provenance
from kdpipe.analysis.eval_point import PerImageErrors, pack_error_mask
from kdpipe.analysis.per_image import PerImageMetrics
from kdpipe.errors import StoreError
from kdpipe.report import page
from kdpipe.runs import run_folder
from kdpipe.runs.files import compute_file_info, write_arrays
from kdpipe.runs.integrity import archive
from kdpipe.runs.records import publish_record
from kdpipe.runs.store import Store


def test_contrasts_of_errors_have_both_intervals_and_the_larger_p_counts(tmp_path):
    plan, store = made_store(tmp_path)
    frame, curves = (
        dataframe.build_results_frame(plan, store),
        dataframe.build_curves_frame(plan, store),
    )
    bare = judge_claims(frame, curves, 0.5)
    full = judge_claims(frame, curves, 0.5, error_masks=PerImageMetrics(plan, store).load_part)
    with_one, larger = set(), 0
    for before, after in zip(bare, full, strict=True):
        if not math.isnan(before.p):  # some are made of the masks
            assert math.isnan(after.p) or after.p >= before.p - 1e-12
        larger += after.p > before.p + 1e-6
        for contrast in after.contrasts:
            images = contrast["images"]
            if "why" not in images:
                with_one.add(after.id)
                assert images["low"] < contrast["effect"] < images["high"]
                assert images["level"] == contrast["level"] and images["levels"]["image"] == 700
    assert larger > 5
    assert {"C1", "C2", "C6", "C8", "C9", "C10", "C11s", "C12", "C13", "C15", "Q1"} <= with_one
    assert not {"C5", "C16", "C18"} & with_one


def both(last, best, kind="student", **labels):
    """Rows of a cell whose errors at the last and the best epoch are given, by seed."""
    known = {"val_error": last, "best_test_error": best, "best_val_error": best}
    return cell(last, kind, **known, **labels)


# The student overfits: taught it ends worse than scratch, and at its best it is better.
SCRATCH_BOTH = both([10.0, 10.4, 10.1, 9.8, 10.2], [9.0, 9.4, 9.0, 8.8, 9.2], "scratch")
TAUGHT_BOTH = both(
    [12.1, 12.3, 12.0, 11.9, 12.4], [7.0, 7.5, 7.1, 6.7, 7.0], teacher="mid", best_epoch=[30] * 5
)
NO_CURVES = pd.DataFrame(columns=["run", "epoch", "lr", "val_error"])


def test_a_frame_at_the_best_epoch_has_its_numbers_and_the_teachers_as_they_taught():
    known = frame(SCRATCH_BOTH, TAUGHT_BOTH, both([4.0] * 5, [3.0] * 5, "teacher", teacher="mid"))
    last, best = (eval_point.select_eval_point(known, each) for each in ("last", "best"))
    for actual, column in ((last, "test_error"), (best, "best_test_error")):
        trained = known.kind != "teacher"
        assert actual.test_error[trained].tolist() == known[column][trained].tolist()
        assert actual.test_error[~trained].tolist() == [4.0] * 5
        assert (actual.teacher_test_error == known.teacher_test_error)[trained].any()
        assert actual.last_test_error.tolist() == known.test_error.tolist()
        assert actual.best_test_error.tolist() == known.best_test_error.tolist()
    assert (
        eval_point.get_eval_point(last),
        eval_point.get_eval_point(best),
        eval_point.get_eval_point(known),
    ) == ("last", "best", "last")
    beside = [eval_point.get_other_error_column(one) for one in (last, best)]
    assert beside == ["best_test_error", "last_test_error"]


@pytest.mark.parametrize("read_at", ["last", "best"])
def test_readings_that_disagree_give_the_verdicts_worked_out_by_hand(read_at):
    """C2, full KD is worse than scratch: yes at the last epoch, the contrary at the best."""
    known = frame(SCRATCH_BOTH, TAUGHT_BOTH)
    verdicts = {v.id: v for v in judge_both_eval_points(known, NO_CURVES, 0.5, read_at)}
    by_hand = {}
    for name, column in (("last", "test_error"), ("best", "best_test_error")):
        rows = [pd.DataFrame(rows)[column].to_numpy() for rows in (TAUGHT_BOTH, SCRATCH_BOTH)]
        test = stats.ttest_rel(*rows)
        interval = test.confidence_interval(0.95)
        by_hand[name] = ((rows[0] - rows[1]).mean(), interval.low, interval.high)
    words = {"last": "supports", "best": "contradicts"}
    actual = verdicts["C2"]
    there = "best" if read_at == "last" else "last"
    assert (actual.verdict, actual.reading) == (words[read_at], read_at)
    assert (actual.effect, actual.low, actual.high) == pytest.approx(by_hand[read_at])
    beside = actual.beside
    assert (beside.verdict, beside.reading, beside.n) == (words[there], there, 5)
    assert (beside.effect, beside.low, beside.high) == pytest.approx(by_hand[there])
    assert beside.differs and beside.words.startswith("the evaluation points differ: ")
    assert words[read_at] in beside.words and words[there] in beside.words
    written = json.loads(json.dumps(verdicts_to_json([actual])))[0]["beside"]
    assert written["verdict"] == words[there] and written["differs"] is True
    untested = verdicts["C1"]
    assert not untested.beside.differs and untested.beside.words.endswith("not tested")


def test_the_answer_compares_one_reading_and_has_the_other_beside_it():
    (actual,) = recommendation.recommend_at_both_eval_points(
        frame(SCRATCH_BOTH, TAUGHT_BOTH), "last"
    )
    gain, other = actual.decision, actual.other.decision
    assert (gain.mark, other.mark) == ("worse", "better")
    assert gain.difference.mean == pytest.approx(2.04)
    assert other.difference.mean == pytest.approx(-2.02)
    assert (actual.side, actual.other.side) == ("labels", "taught")
    assert page.describe_other_recommendation(actual).startswith(
        "The evaluation points differ: at the best epoch on validation: Distill: train small taught"
    )


def test_what_was_made_before_both_were_kept_is_said():
    known = frame(SCRATCH_BOTH, TAUGHT_BOTH, cell([8.0] * 5, "ensemble", ensemble="two", size=2))
    errors = {"last": lambda name: np.zeros(9, bool), "best": lambda name: None}
    assert eval_point.describe_missing_eval_points(known, errors) == (
        "10 runs were made before both were kept: of their best epoch the error is known, but no "
        "interval over images; 5 ensembles have no error at the best epoch, since their members "
        "have none"
    )
    assert (
        eval_point.describe_missing_eval_points(known.assign(best_test_error=float("nan")), errors)
        == ""
    )
    assert (
        eval_point.describe_missing_eval_points(
            frame(SCRATCH_BOTH), {"last": errors["last"], "best": errors["last"]}
        )
        == ""
    )


# --- Wrong images -------------------------------------------------------------------------------


def test_a_contrast_is_made_of_the_runs_that_it_names(tmp_path):
    plan, store = made_store(tmp_path)
    rows = add_error_provenance(dataframe.build_results_frame(plan, store))
    known = PerImageErrors(plan, store)
    for row in rows[rows.kind.isin(["student", "ensemble"])].itertuples():
        assert row.test_error.parts == {row.run: 1.0}
        assert 100 * known.load_error_mask(row.run).mean() == pytest.approx(row.test_error)
    assert not hasattr(rows[rows.kind == "teacher"].test_error.iloc[0], "parts")


def test_outcomes_are_read_from_outputs_and_of_an_ensemble_from_its_members(tmp_path):
    plan, store = made_store(tmp_path, seeds=[0])
    store.archive_path.unlink()
    assert listed(plan, store) == {}
    team = next(t for t in plan.ensembles.values() if len(t.members) == 3)
    random = np.random.default_rng(0)
    labels = random.integers(10, size=700)
    shares = []
    for run, epoch in team.members:
        logits = random.normal(size=(700, 10)).astype(np.float32)
        logits[np.arange(700), labels] += 1.5
        shares.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
        arrays = {"test_logits": logits, "test_labels": labels}
        path = store.run(run.name) / "outputs.safetensors"
        write_arrays(path, arrays, {"run": run.digest, "epoch": epoch})
        record = store.load_records("runs")[run.name]
        files = record["files"] | {path.name: compute_file_info(path)}
        publish_record(path.parent, record | {"files": files})
    known = PerImageErrors(plan, store)
    for (run, _), share in zip(team.members, shares, strict=True):
        assert (known.load_error_mask(run.name) == (share.argmax(axis=1) != labels)).all()
    assert (
        known.load_error_mask(team.name) == (np.mean(shares, axis=0).argmax(axis=1) != labels)
    ).all()
    # At the best epoch each member is wrong elsewhere, and so is what they average to; the best of
    # one member is its last epoch, whose outputs stand for both.
    best = PerImageErrors(plan, store, "best")
    assert (
        best.load_error_mask(team.name) is None
        and best.load_error_mask(team.members[0][0].name) is None
    )
    at_best = [shares[0]]
    for (member, _), after in zip(team.members, (20, 17, 18), strict=True):
        record = store.load_records("runs")[member.name] | {"best": {"epoch": after}}
        if after < 20:
            logits_then = random.normal(size=(700, 10)).astype(np.float32)
            at_best.append(np.exp(logits_then) / np.exp(logits_then).sum(axis=1, keepdims=True))
            location = run_folder.best_outputs_path(store.run(member.name))
            then = {"test_logits": logits_then, "test_labels": labels}
            write_arrays(location, then, {"run": member.digest, "epoch": after})
            record["files"] = record["files"] | {location.name: compute_file_info(location)}
        publish_record(store.run(member.name), record)
    best = PerImageErrors(plan, store, "best")
    for (member, _), share in zip(team.members, at_best, strict=True):
        assert (best.load_error_mask(member.name) == (share.argmax(axis=1) != labels)).all()
    mean = np.mean(at_best, axis=0)
    assert (best.load_error_mask(team.name) == (mean.argmax(axis=1) != labels)).all()
    assert (known.load_error_mask(team.name) != best.load_error_mask(team.name)).any()
    archive.archive_study(
        plan, store, tmp_path / "archive"
    )  # which has no outputs, but bits of both
    there = PerImageErrors(plan, Store(tmp_path / "archive"), "best")
    for name in (team.name, *(member.name for member, _ in team.members)):
        assert (there.load_error_mask(name) == best.load_error_mask(name)).all()
    lines = listed(plan, store)
    # other outputs of the same run, with a sound checksum of their own, are not what was recorded
    remaining = path.read_bytes()
    write_arrays(path, arrays | {"test_labels": labels[::-1]}, {"run": run.digest, "epoch": epoch})
    for item in (run, team):
        with pytest.raises(StoreError, match="not what the record of its run says"):
            PerImageErrors(plan, store).load_error_mask(item.name)
    path.write_bytes(remaining)
    assert set(lines) == {team.name, *(run.name for run, _ in team.members)}


def listed(plan, store) -> dict[str, dict]:
    """What an archive says of each run and ensemble whose wrong images are known."""
    known = PerImageErrors(plan, store)
    items = [*plan.runs.values(), *plan.ensembles.values()]
    return {
        item.name: {"digest": item.digest, **pack_error_mask(errors)}
        for item in items
        if (errors := known.load_error_mask(item.name)) is not None
    }

"""Every table on small made frames whose numbers are worked out by hand."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.synthetic_frames import COLUMNS, SCRATCH, cell, frame
from scipy import stats

from kdpipe.analysis.dataframe import filter_rows, get_series_by_seed, normalize_frame
from kdpipe.report import format
from kdpipe.report.table import (
    RenderedTable,
    adjust_differences,
    estimate_difference,
    load_tables,
    render_table_by_name,
    table_to_csv,
    table_to_markdown,
)
from kdpipe.stats.group_sequential import InterimAnalysis


def table(name, *cells):
    """The table of shuffled rows: no table may depend on the order of the frame."""
    return render_table_by_name(name, frame(*cells).sample(frac=1, random_state=1))


def rows_of(result, *keys):
    """The data by the given columns; an empty label in place of nan."""
    data = result.data.copy()
    data[list(keys)] = data[list(keys)].astype(object).where(data[list(keys)].notna(), "")
    return {tuple(row[key] for key in keys): row for row in data.to_dict("records")}


def test_teacher_size():
    built_table = table(
        "teacher_size",
        SCRATCH,
        cell([9.0, 9.0, 10.0], teacher="large"),
        cell([8.0, 10.0, 10.0], teacher="mid"),
        cell([1.0, 1.0, 1.0], teacher="mid", stop="checkpoint 12"),
        cell([1.0, 1.0, 1.0], teacher="large", via="mid"),
        cell([1.0, 1.0, 1.0], teacher="large", generation=2),
    )
    assert list(built_table.data.method) == ["scratch", "kd", "kd"]
    assert list(built_table.data.teacher) == ["", "mid", "large"]  # by multiply-adds, not by name
    scratch, mid, large = built_table.data.to_dict("records")
    assert (scratch["n"], scratch["error"], scratch["error_sd"]) == (3, 11.0, 1.0)
    assert math.isnan(scratch["vs_scratch"])
    assert (mid["teacher_error"], mid["teacher_parameters"]) == (4.0, 200)
    # Two differences hold jointly: each has an interval of level 1 - 0.05 / 2.
    oracle = stats.ttest_rel([9.0, 9.0, 10.0], [10.0, 11.0, 12.0]).confidence_interval(0.975)
    assert large["vs_scratch"] == pytest.approx(-5 / 3)
    assert (large["vs_scratch_low"], large["vs_scratch_high"]) == pytest.approx(tuple(oracle))
    assert large["vs_scratch_mark"] == "cannot tell"  # alone it would be better
    assert "The 2 differences of this table hold jointly" in built_table.caption
    assert "so the marks hold for this test set" in built_table.caption
    assert mid["vs_scratch"] == pytest.approx(-5 / 3)  # -2, -1, -2
    displayed = built_table.display.iloc[2]
    assert displayed["against scratch"] == "-1.7 ± 2.1, cannot tell"
    assert displayed["error"] == "9.3 ± 1.4"
    assert displayed["parameters of the teacher"] == "2 k"


def test_holes_stay_visible():
    built_table = table(
        "teacher_size",
        SCRATCH,
        cell([9.0, "diverged", "skipped"], teacher="mid"),
        cell(["diverged", "diverged", "not tried"], teacher="large"),
    )
    _, mid, large = built_table.data.to_dict("records")
    assert mid["n"] == 1 and mid["vs_scratch_mark"] == "too few seeds"
    assert mid["notes"] == "1 diverged; 1 skipped"
    assert large["n"] == 0 and math.isnan(large["error"])
    assert large["notes"] == "2 diverged; 1 not tried; diverged for a reason"
    displayed = built_table.display.to_dict("records")
    assert (displayed[1]["error"], displayed[1]["against scratch"]) == ("9", "-1, too few seeds")
    assert (displayed[2]["error"], displayed[2]["against scratch"]) == ("-", "-")


def test_unmatched_seeds_are_counted():
    built_table = table(
        "teacher_size",
        cell([10.0, 11.0, 12.0, "diverged"], kind="scratch"),
        cell([9.0, 9.0, 10.0, 2.0], teacher="mid"),
    )
    assert built_table.data.vs_scratch_n[1] == 3 and built_table.data.n[1] == 4
    assert built_table.display["against scratch"][1] == "-1.7 ± 1.4, better (3 pairs)"


def test_one_teacher_for_all_seeds_is_said():
    built_table = table(
        "teacher_size", SCRATCH, cell([9.0, 9, 9], teacher="mid", teacher_run="one")
    )
    assert built_table.data.notes[1] == "one teacher for all seeds"
    assert built_table.display["error of the teacher"][1] == "4"


def test_a_run_of_two_blocks_counts_once_and_members_do_not():
    twice = cell([9.0, 9.0, 10.0], teacher="mid"), cell([9.0, 9.0, 10.0], teacher="mid", block="b")
    member = cell([1.0, 1.0, 1.0], kind="scratch", member=1)
    built_table = table("teacher_size", SCRATCH, member, *twice)
    assert list(built_table.data.n) == [3, 3]


def test_blocks_that_disagree_are_told_apart():
    own = cell([9.0, 9.0, 10.0], teacher="mid")
    fixed = cell([9.0, 8.0, 8.0], teacher="mid", block="fixed", run=["f0", "f1", "f2"])
    built_table = table("teacher_size", SCRATCH, own, fixed)
    assert list(built_table.data.teacher) == ["", "mid [fixed]", "mid [main]"]
    assert list(built_table.data.n) == [3, 3, 3]


def test_two_runs_of_one_seed_are_refused():
    with pytest.raises(ValueError, match="several runs: a, b"):
        get_series_by_seed(frame(cell([1.0], run="a"), cell([2.0], run="b")))


def test_attention_transfer_stands_beside_kd_from_the_same_teacher():
    at = {"method": "at", "method_kind": "at", "kd_weight": 0.0, "attention_weight": 60.0}
    both = {"method": "both", "method_kind": "at+kd", "attention_weight": 60.0}
    short = {"teacher": "mid", "stop": "schedule 4/14"}
    built_table = table(
        "attention",
        SCRATCH,
        cell([9.0, 9.0, 10.0], teacher="mid"),
        cell([9.0, 9.0, 9.0], teacher="large"),  # no attention transfer from this one
        cell([8.0, 9.0, 9.0], teacher="mid", **at),
        cell([8.0, 8.0, 8.0], teacher="mid", **both),
        cell([7.0, 7.0, 9.0], **short),
        cell([6.0, 8.0, 7.0], **short, **at),
    )
    assert list(zip(built_table.data.stop, built_table.data.method_kind, strict=True)) == [
        ("full", "kd"), ("full", "at"), ("full", "at+kd"), ("schedule 4/14", "kd"),
        ("schedule 4/14", "at"),
    ]  # fmt: skip
    kd, alone, together, stopped_kd, stopped = built_table.data.to_dict("records")
    assert math.isnan(kd["vs_full_kd"]) and math.isnan(kd["vs_full"])
    assert alone["vs_full_kd"] == pytest.approx(-2 / 3)  # -1, 0, -1
    assert together["vs_full_kd"] == pytest.approx(-4 / 3)  # -1, -1, -2
    assert stopped_kd["vs_full"] == pytest.approx(-5 / 3)  # -2, -2, -1
    assert stopped["vs_full"] == pytest.approx(-5 / 3)  # -2, -1, -2 against AT from the full one
    assert stopped["vs_full_kd"] == pytest.approx(-2 / 3)  # -1, 1, -2 at the same stop
    assert list(built_table.display["kind of method"]) == [
        "full KD",
        "AT",
        "AT + KD",
        "full KD",
        "AT",
    ]


@pytest.mark.parametrize("name", ["teacher_size", "early_stopped", "losses", "mimicry"])
def test_attention_transfer_is_told_from_kd_where_both_stand(name):
    at = {"method": "mine", "method_kind": "at+kd", "attention_weight": 60.0}
    rows = [cell([9.0, 9.0, 9.0], teacher="mid", stop=stop) for stop in ("full", "schedule 4/14")]
    plain = table(name, SCRATCH, *rows)
    assert "kind of method" not in plain.display
    both = table(name, SCRATCH, *rows, cell([8.0, 8.0, 8.0], teacher="mid", **at),
                 cell([8.0, 8.0, 8.0], teacher="mid", stop="schedule 4/14", **at))  # fmt: skip
    kinds = dict(zip(both.display.method, both.display["kind of method"], strict=True))
    assert (kinds["kd"], kinds["mine"]) == ("full KD", "AT + KD")


def test_mimicry():
    built_table = table(
        "mimicry",
        SCRATCH,
        cell(
            [9.0, 9.0, 10.0],
            teacher="large",
            train_kd_error=[4.0, 5.0, 6.0],
            test_kd_error=[7.0, 7.0, 7.0],
            train_kl=[0.1, 0.2, 0.3],
            test_cross_entropy=[3.0, 4.0, 5.0],
        ),
        cell([9.0, 9.0, 9.0], teacher="mid", train_kd_error=[1.0, 2.0, 3.0]),
        cell([9.0, 9.0, 9.0], teacher="mid", stop="schedule 10/20", train_kd_error=0.0),
    )
    assert list(built_table.data.teacher) == ["mid", "large"]
    large = built_table.data.iloc[1]
    assert (large.train_kd_error, large.train_kd_error_sd) == (5.0, 1.0)
    assert large.train_kd_error_high == pytest.approx(5 + 4.302653 / math.sqrt(3))
    assert (large.test_kd_error, large.test_cross_entropy) == (7.0, 4.0)
    displayed = built_table.display.iloc[1]
    assert displayed["KD error, train"] == "5.0 ± 2.5"
    assert displayed["KD error, test"] == "7 ± 0"
    assert displayed["KL, train"] == "0.20 ± 0.25"
    assert displayed["KL, test"] == "-"


def test_eskd_finds_its_full_partner():
    stopped = {"method_kind": "eskd", "kd_epochs": 12, "ce_weight_after_stop": 1.0}
    built_table = table(
        "eskd",
        SCRATCH,
        cell([9.0, 10.0, 11.0], teacher="mid", train_nll=[1.0, 2.0, 3.0]),
        cell([5.0, 5.0, 5.0], teacher="mid", method="hot", temperature=20),
        cell([8.0, 9.5, 9.0], teacher="mid", method="early", **stopped, train_kl=2.0),
        cell([7.0, 7.0, 7.0], teacher="large", method="early", **stopped),
        cell([6.0, 6.0, 6.0], teacher="mid", method="at", method_kind="at"),
    )
    actual = rows_of(built_table, "teacher", "method")
    assert list(actual) == [("mid", "kd"), ("mid", "early"), ("large", "early")]
    early = actual["mid", "early"]
    assert early["vs_full_kd"] == pytest.approx((-1 - 0.5 - 2) / 3)
    assert (early["train_kl"], early["ce_weight_after_stop"], early["kd_epochs"]) == (2.0, 1.0, 12)
    assert actual["mid", "kd"]["train_nll"] == 2.0
    assert math.isnan(actual["mid", "kd"]["vs_full_kd"])
    alone = actual["large", "early"]
    assert (alone["vs_full_kd_n"], alone["vs_full_kd_mark"]) == (0, "too few seeds")


def test_an_untrained_teacher_is_called_one():
    """What a student gains from a network that knows nothing is no knowledge."""
    stops = {"full": "full", "checkpoint 2": "checkpoint 2"}
    stops["checkpoint 0"] = "checkpoint 0 (untrained)"
    early = {"method": "early", "method_kind": "eskd", "kd_epochs": 2, "ce_weight_after_stop": 1.0}
    arms = [(stop, more) for stop in stops for more in ({}, early)]
    built_table = table(
        "eskd",
        SCRATCH,
        *(cell([9.0, 9.5], teacher="mid", stop=stop, **more) for stop, more in arms),
    )
    assert set(built_table.data.stop) == set(stops)
    assert set(built_table.display["stop of the teacher"]) == set(stops.values())


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ("full", "small taught by big with kd"),
        ("checkpoint 3", "small taught by big stopped at checkpoint 3 with kd"),
        ("schedule 3/9", "small taught by big stopped early by schedule 3/9 with kd"),
    ],
)
def test_the_answer_calls_it_one_too(stop, message):
    key = {"student": "small", "teacher": "big", "stop": stop, "via": "", "generation": 1.0}
    key["method"] = "kd"
    entrant = SimpleNamespace(side="taught", key=key, is_teacher=False, is_only_length=True)
    assert format.describe_entrant(entrant, "small") == message


def test_temperature_shows_methods_that_differ_in_nothing_else():
    built_table = table(
        "temperature",
        SCRATCH,
        cell([9.0, 9.0, 9.0], teacher="mid"),
        cell([8.0, 8.0, 8.0], teacher="mid", method="warm", temperature=20),
        cell([7.0, 7.0, 7.0], teacher="mid", method="cold", temperature=1.5),
        cell([6.0, 6.0, 6.0], teacher="mid", method="other", temperature=20, kd_weight=0.5),
        cell([5.0, 5.0, 5.0], teacher="large"),
    )
    assert list(built_table.data.temperature) == [1.5, 4, 20]
    assert list(built_table.data.error) == [7.0, 9.0, 8.0]
    assert list(built_table.display.temperature) == ["1.5", "4", "20"]


def test_checkpoints_are_a_grid():
    built_table = table(
        "checkpoints",
        SCRATCH,
        cell([20.0, 20.0, 20.0], kind="scratch", student="mid"),
        cell([9.0, 9.0, 9.0], teacher="large"),
        cell([8.0, 8.0, 8.0], teacher="large", stop="checkpoint 12", teacher_lr=0.05),
        cell([7.0, 7.0, 7.0], teacher="large", stop="checkpoint 4", teacher_lr=0.1),
        cell([30.0, 30.0, "diverged"], teacher="large", stop="checkpoint 4", student="mid",
             teacher_lr=0.1),
    )  # fmt: skip
    assert list(built_table.data.stop) == ["full", "checkpoint 4", "checkpoint 4", "checkpoint 12"]
    assert list(built_table.display.columns[:5]) == [
        "teacher", "stop", "epochs", "lr", "error of the teacher",
    ]  # fmt: skip
    four = built_table.display.iloc[1]
    assert (four["epochs"], four["lr"]) == ("4", "0.1")
    assert four["small, kd"] == "7 ± 0 (n 3, cannot tell)"  # -4 ± 2.5 alone, of three ± 4.4
    assert "The 3 differences of this table hold jointly" in built_table.caption
    assert four["mid, kd"] == "30 (n 2, too few seeds)"
    assert built_table.display.iloc[0]["mid, kd"] == "-"


def test_early_stopped_chooses_without_the_tested_seed():
    built_table = table(
        "early_stopped",
        SCRATCH,
        cell([9.0, 9.0, 10.0], teacher="large"),
        cell([8.0, 8.5, 8.0], teacher="large", stop="schedule 10/30", val_error=[0.0, 5.0, 5.0]),
        cell([7.0, 7.5, 9.0], teacher="large", stop="schedule 15/35", val_error=[9.0, 1.0, 1.0]),
        cell([1.0, 2.0, 6.0], teacher="large", stop="checkpoint 12"),
        cell([1.0, 1.0, 1.0], teacher="mid"),
    )
    actual = rows_of(built_table, "stop")
    assert [stop for (stop,) in actual] == [
        "full",
        *("schedule 10/30", "schedule 15/35", "schedule, chosen"),
        *("checkpoint 12", "checkpoint, chosen"),
    ]
    # Seed 0 is left to 1 and 2, who prefer 35; with seed 0 in, 30 has the lower mean (2.5 to 5).
    chosen = actual["schedule, chosen",]
    assert chosen["error"] == pytest.approx((7.0 + 8.5 + 8.0) / 3)
    assert chosen["vs_full"] == pytest.approx((-2 - 0.5 - 2) / 3)
    assert chosen["notes"].startswith("schedule 10/30 for 2 seeds; schedule 15/35 for 1 seed; P(")
    assert actual["checkpoint 12",]["error_median"] == 2.0
    assert actual["checkpoint 12",]["vs_full"] == pytest.approx((-8 - 7 - 4) / 3)
    unchosen = actual["checkpoint, chosen",]
    assert unchosen["n"] == 0 and "nothing to choose by" in unchosen["notes"]


def test_marks_at_a_look_have_what_it_may_spend():
    errors = [cell([10.0, 11.0, 12.0], kind="scratch"), cell([8.0, 9.1, 9.9], teacher="mid")]
    once, look = table("teacher_size", *errors), InterimAnalysis((3, 8), 1)
    early = render_table_by_name("teacher_size", frame(*errors), look)
    actual = [one.data.dropna(subset="vs_scratch").iloc[0] for one in (once, early)]
    assert [row.vs_scratch_mark for row in actual] == ["better", "cannot tell"]
    half = actual[1].vs_scratch_high - actual[1].vs_scratch
    difference = np.subtract([8.0, 9.1, 9.9], [10.0, 11.0, 12.0])
    se = difference.std(ddof=1) / math.sqrt(3)
    assert half == pytest.approx(stats.t.isf(look.compute_level(0.025), 2) * se)
    assert "This is look 1 of 2 (after 3, 8 seeds)" in early.caption
    assert "look" not in once.caption


def test_generations():
    again = {"teacher": "small", "block": "again"}
    scratch = {"kind": "ensemble", "of": "small"}
    built_table = table(
        "generations",
        cell([10.0, 11.0, 12.0], kind="scratch", test_nll=[1.0, 2.0, 3.0]),
        cell([9.0, 10.0, 11.5], **again),
        cell([9.5, 9.5, 10.5], generation=2, **again),
        cell(
            [8.0, 8.5, 9.0],
            kind="ensemble",
            ensemble="sequence",
            size=2,
            of="again",
            method="kd",
            teacher="small",
        ),
        cell([1.0, 1.0, 1.0], ensemble="shots", size=2, whole=False, **scratch),  # snapshots
        cell([8.0, 8.0, 8.0], ensemble="twice", size=2, whole=True, test_ece=0.02, **scratch),
        cell([1.0, 1.0, 1.0], ensemble="thrice", size=3, whole=True, **scratch),
        cell([5.0, 5.0, 5.0], teacher="mid"),
    )
    actual = rows_of(built_table, "what")
    assert [what for (what,) in actual] == [
        *("scratch", "generation 1", "generation 2"),
        *("twice, 2 scratch runs", "sequence, 2 generations"),
    ]
    assert actual["scratch",]["test_nll"] == 2.0
    assert actual["generation 2",]["vs_scratch"] == pytest.approx((-0.5 - 1.5 - 1.5) / 3)
    sequence = actual["sequence, 2 generations",]
    assert sequence["vs_scratch_ensemble"] == pytest.approx(0.5)  # 0, 0.5, 1
    assert sequence["vs_scratch_ensemble_mark"] == "cannot tell"
    assert sequence["vs_scratch"] == pytest.approx(-2.5)
    assert actual["twice, 2 scratch runs",]["test_ece"] == 0.02


def test_generations_of_two_methods_have_ensembles_of_their_own():
    cells = [SCRATCH]
    for method, error in (("kd", 9.0), ("warm", 8.0)):
        path = {"teacher": "small", "method": method}
        for generation in (1, 2):
            cells.append(cell([error] * 3, block="again", generation=generation, **path))
        cells.append(
            cell([error - 1] * 3, kind="ensemble", ensemble="seq", size=2, of="again", **path)
        )
    result = rows_of(table("generations", *cells), "method", "what")
    assert result["kd", "seq, 2 generations"]["error"] == 8.0
    assert result["warm", "seq, 2 generations"]["error"] == 7.0
    assert len(result) == 8
    assert sorted(table("ensembles", *cells).data.error) == [7.0, 8.0, 11.0]


def test_chains():
    built_table = table(
        "chains",
        SCRATCH,
        cell([9.0, 9.0, 9.0], teacher="large"),
        cell([8.0, 8.0, 9.0], teacher="mid"),
        cell([8.5, 8.0, 8.0], teacher="large", via="mid"),
        cell([5.0, 5.0, 5.0], teacher="large", via="mid", method="kd > warm"),
        cell([5.0, 5.0, 5.0], teacher="large", student="mid"),
    )
    actual = rows_of(built_table, "path")
    assert [path for (path,) in actual] == [
        "large > small",
        "mid > small",
        "large > mid > small",
    ]
    chain = actual["large > mid > small",]
    assert chain["vs_direct"] == pytest.approx((-0.5 - 1 - 1) / 3)
    assert chain["vs_medium"] == pytest.approx((0.5 + 0 - 1) / 3)
    assert chain["vs_scratch"] == pytest.approx((-1.5 - 3 - 4) / 3)


def test_chains_say_what_is_not_there():
    built_table = table("chains", SCRATCH, cell([8.5, 8.0, 8.0], teacher="large", via="mid"))
    assert list(built_table.data.notes) == ["not in this study", "not in this study", ""]
    assert built_table.display["against large to small"][2] == "-"


def test_improved_teacher():
    names = [f"mid-from-large-s{seed}" for seed in range(3)]
    built_table = table(
        "improved_teacher",
        SCRATCH,
        cell([3.5, 3.5, 3.5], student="mid", teacher="large", block="better", run=names),
        cell([9.0, 9.0, 9.0], teacher="mid", teacher_test_error=[4.0, 4.2, 4.1]),
        cell([9.0, 9.5, 10.0], teacher="better", teacher_run=names, teacher_network="mid",
             teacher_test_error=[3.5, 3.6, 3.7]),
    )  # fmt: skip
    plain, improved = built_table.data.to_dict("records")
    assert (plain["teacher"], improved["teacher"]) == ("mid", "better")
    assert improved["vs_plain"] == pytest.approx(0.5)
    assert improved["teacher_vs_plain"] == pytest.approx((-0.5 - 0.6 - 0.4) / 3)
    assert improved["vs_scratch"] == pytest.approx(-1.5)


def test_staged():
    chain = {"teacher": "large", "via": "mid"}
    built_table = table(
        "staged",
        SCRATCH,
        cell([7.0, 8.0, 8.5], method="kd > warm", **chain),
        cell([8.0, 8.0, 9.0], method="warm", **chain),
        cell([9.0, 9.0, 9.0], method="warm", teacher="large"),
        cell([1.0, 1.0, 1.0], method="kd", **chain),
    )
    actual = rows_of(built_table, "path", "method")
    assert list(actual) == [
        ("large > small", "warm"),
        ("large > mid > small", "warm"),
        ("large > mid > small", "kd > warm"),
    ]
    mixed = actual["large > mid > small", "kd > warm"]
    assert mixed["vs_plain"] == pytest.approx((-1 + 0 - 0.5) / 3)
    assert mixed["vs_direct"] == pytest.approx((-2 - 1 - 0.5) / 3)


def test_ensembles():
    built_table = table(
        "ensembles",
        SCRATCH,
        cell([9.0, 10.5, 11.0], kind="scratch_long", epochs=160, train_macs=4e9),
        cell([8.0, 9.0, 9.5], kind="ensemble", ensemble="five", size=5, multiply_adds=50,
             test_nll=[0.1, 0.2, 0.3], test_ece=0.01),
        cell([3.0, 3.0, 3.0], kind="ensemble", ensemble="mixed", size=2, student=""),
    )  # fmt: skip
    actual = rows_of(built_table, "ensemble")
    assert [name for (name,) in actual if name != "mixed"] == ["scratch", "scratch long", "five"]
    assert actual["mixed",]["student"] == "" and actual["mixed",]["error"] == 3.0
    five = actual["five",]
    assert (five["size"], five["multiply_adds"], five["test_ece"]) == (5, 50, 0.01)
    assert five["test_nll"] == pytest.approx(0.2)
    assert five["vs_scratch"] == pytest.approx((-2 - 2 - 2.5) / 3)
    assert actual["scratch long",]["vs_scratch"] == pytest.approx((-1 - 0.5 - 1) / 3)
    assert math.isnan(actual["mixed",]["vs_scratch"])
    display = built_table.display
    assert dict(zip(display.ensemble, display["training operations"], strict=True)) == {
        "scratch": "-", "scratch long": "4 G", "five": "-", "mixed": "-",
    }  # fmt: skip


def test_losses_cover_every_kind():
    built_table = table(
        "losses",
        SCRATCH,
        cell(
            [3.0, 3.1, 3.2], kind="teacher", student="", teacher="large", train_nll=[0.1, 0.2, 0.3]
        ),
        cell(
            [9.0, 9.0, 9.0],
            teacher="large",
            train_kl=[0.5, 0.6, 0.7],
            train_cross_entropy=[5.0, 6.0, 7.0],
            best_epoch=[30, 31, 32],
            best_test_error=[8.0, 8.5, 9.0],
            best_train_kl=[0.4, 0.4, 0.4],
        ),
        cell([8.0, 8.0, 8.0], kind="ensemble", ensemble="five", size=5, test_nll=0.3),
    )
    actual = rows_of(built_table, "kind")
    assert {kind for (kind,) in actual} == {"scratch", "teacher", "student", "ensemble"}
    student = actual["student",]
    assert (student["train_kl"], student["train_cross_entropy"]) == pytest.approx((0.6, 6.0))
    assert (student["best_epoch"], student["best_test_error"]) == (31, 8.5)
    assert student["best_train_kl"] == pytest.approx(0.4)
    assert actual["teacher",]["train_nll"] == pytest.approx(0.2)
    assert actual["ensemble",]["test_nll"] == pytest.approx(0.3)


@pytest.mark.parametrize("name", load_tables())
def test_a_table_of_nothing(name):
    empty = pd.DataFrame(columns=COLUMNS)
    result = render_table_by_name(name, empty)
    assert result.name == name and result.data.empty
    assert "No run of this study" in table_to_markdown(result)
    assert isinstance(table_to_csv(result), str)


@pytest.mark.parametrize("name", load_tables())
def test_a_frame_from_csv_gives_the_same_and_is_left_alone(name):
    rows = frame(
        SCRATCH,
        cell([9.0, "diverged", 10.0], teacher="mid", stop="checkpoint 12", val_error=1.0),
        cell([9.0, 9.0, 10.0], teacher="mid"),
        cell([8.0, 8.0, 8.0], teacher="large", via="mid", method="a > kd"),
        cell([8.0, 8.0, 8.0], teacher="large", method="warm", temperature=9),
        cell([8.0, 8.0, 8.0], teacher="small", generation=2),
        cell([8.0, 8.0, 8.0], kind="ensemble", ensemble="five", size=5),
    )
    before = rows.copy()
    result = render_table_by_name(name, rows)
    pd.testing.assert_frame_equal(rows, before)
    read = pd.read_csv(io.StringIO(rows.to_csv(index=False)))
    assert table_to_markdown(render_table_by_name(name, read)) == table_to_markdown(result)
    assert table_to_csv(render_table_by_name(name, read)) == table_to_csv(result)


def test_markdown_and_csv():
    built_table = table("teacher_size", SCRATCH, cell([9.0, 9.0, 10.0], teacher="mid"))
    lines = table_to_markdown(built_table).splitlines()
    assert lines[0].startswith("**Teachers of rising size.** Top-1 test error")
    assert lines[1] == "" and lines[2].startswith("| student")
    assert len(lines) == 6
    back = pd.read_csv(io.StringIO(table_to_csv(built_table)))
    assert back.vs_scratch[1] == pytest.approx(-5 / 3)


def test_where_knows_nan_and_lists():
    rows = normalize_frame(frame(SCRATCH, cell([1.0], teacher="mid"), cell([1.0], teacher="large")))
    assert len(filter_rows(rows, teacher=["mid", "large"])) == 2
    assert len(filter_rows(rows, temperature=math.nan)) == 3


def test_differences_that_hold_together_are_bonferronis():
    values = {0: 9.0, 1: 9.5, 2: 10.0, 3: 8.0}
    lone = estimate_difference("d", values, dict.fromkeys(values, 11.0))
    few = estimate_difference("e", {0: 1.0}, {0: 2.0})
    held = adjust_differences([lone | few, lone])
    one, two = held.rows
    assert (held.n_differences, held.n_seeds_only, held.n_differing) == (2, 2, 0)
    assert one["e_mark"] == "too few seeds" and one["d_low"] == two["d_low"]
    oracle = stats.ttest_1samp([-2.0, -1.5, -1.0, -3.0], 0).confidence_interval(1 - 0.05 / 2)
    assert (one["d_low"], one["d_high"]) == pytest.approx(tuple(oracle))
    values = lone.pop("d_values")
    assert values == {0: -2.0, 1: -1.5, 2: -1.0, 3: -3.0} and lone["d_mark"] == "better"
    lone["d_values"] = values
    (alone,) = adjust_differences([lone]).rows
    assert alone == pytest.approx({key: lone[key] for key in lone if key != "d_values"})
    assert adjust_differences([lone] * 20).rows[0]["d_mark"] == "cannot tell"


def test_no_text_of_a_csv_is_a_formula_to_a_spreadsheet():
    """A class is named by its folder, which may be a stranger's."""
    names = ["=cmd|' ,C calc'!A0", "-2+3\n@SUM(A1)", "@x", "-1.5 to 0.3", "-", "a=b"]
    grid = pd.DataFrame({"class": names, "n": range(6), "error": [-1.5, 2, 3, 4, 5, math.nan]})
    plain = table_to_csv(RenderedTable("x", "X", "", grid[3:], grid[3:], []))
    assert plain == grid[3:].to_csv(index=False, float_format="%.10g", lineterminator="\n")
    text = table_to_csv(RenderedTable("x", "X", "", grid, grid, []))
    back = pd.read_csv(io.StringIO(text), na_filter=False)
    assert back["class"].tolist() == [f"'{name}" for name in names[:3]] + names[3:]
    assert text.endswith("a=b,5,\n")

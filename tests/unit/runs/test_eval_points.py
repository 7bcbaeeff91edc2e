"""Both readings of a run are found by one function, whenever the run was made."""

from pathlib import Path

from kdpipe.runs import records

RUN = Path("results/runs/x")
FILES = ("weights", "outputs", "best-weights", "best-outputs")


def record(best: int | None, *files: str) -> dict:
    listed = {f"{name}.safetensors": {"bytes": 1, "sha256": "0"} for name in files}
    at_best = None if best is None else {"epoch": best}
    return {"last": {"epoch": 9}, "best": at_best, "files": listed}


def actual(best, *files):
    result = record(best, *files)
    paths = [
        each(RUN, result, reading)
        for reading in records.EVAL_POINTS
        for each in (records.find_weights_path, records.find_outputs_path)
    ]
    return [path and path.name.removesuffix(".safetensors") for path in paths]


def test_where_each_reading_lies():
    assert actual(4, *FILES) == list(FILES)
    assert actual(9, *FILES[:2]) == [*FILES[:2], *FILES[:2]]  # the best epoch is the last
    assert actual(4, *FILES[:2]) == [*FILES[:2], None, None]  # made before both were kept
    assert actual(None, *FILES[:2]) == [*FILES[:2], None, None]  # no validation
    assert actual(4) == [None] * 4  # records alone


def test_which_epoch_it_is():
    assert [records.get_eval_epoch(record(4), reading) for reading in records.EVAL_POINTS] == [9, 4]
    assert records.get_eval_epoch(record(None), "best") is None
    assert records.get_eval_epoch({"last": None, "best": None}, "last") is None  # diverged
    assert [records.other_eval_point(reading) for reading in records.EVAL_POINTS] == [
        "best",
        "last",
    ]

"""Which test images runs get wrong, from both places, and the second interval that they make."""

import json

import numpy as np
import pytest
from made_study import made_plan, made_store

from kdpipe.errors import StoreError
from kdpipe.evidence import frames, wrong_images
from kdpipe.evidence.claim import judge
from kdpipe.evidence.selections import traced
from kdpipe.evidence.wrong_images import Outcomes
from kdpipe.results.files import file_facts, write_arrays
from kdpipe.results.records import publish
from kdpipe.results.store import OUTCOMES, Store


def test_contrasts_of_errors_have_both_intervals_and_the_verdicts_stay(tmp_path):
    plan, store = made_store(tmp_path)
    frame, curves = frames.frame(plan, store), frames.curves(plan, store)
    bare = judge(frame, curves, 0.5)
    full = judge(frame, curves, 0.5, wrong=Outcomes(plan, store).wrong)
    with_one = set()
    for before, after in zip(bare, full, strict=True):
        assert (before.verdict, before.p) == (after.verdict, pytest.approx(after.p, nan_ok=True))
        for contrast in after.contrasts:
            resampled = contrast["resampled"]
            if not resampled.why:
                with_one.add(after.id)
                assert resampled.low < contrast["effect"] < resampled.high
                assert resampled.level == contrast["level"] and resampled.images == 700
    assert {"C1", "C2", "C6", "C8", "C9", "C10", "C11s", "C12", "C13", "Q1"} <= with_one
    assert not {"C5", "C15", "C16", "C18"} & with_one


def test_a_contrast_is_made_of_the_runs_that_it_names(tmp_path):
    plan, store = made_store(tmp_path)
    frame = traced(frames.frame(plan, store))
    known = Outcomes(plan, store)
    for row in frame[frame.kind.isin(["student", "ensemble"])].itertuples():
        assert row.test_error.parts == {row.run: 1.0}
        assert 100 * known.wrong(row.run).mean() == pytest.approx(row.test_error)
    assert not hasattr(frame[frame.kind == "teacher"].test_error.iloc[0], "parts")


def test_outcomes_are_read_from_outputs_and_of_an_ensemble_from_its_members(tmp_path):
    plan, store = made_store(tmp_path, seeds=[0])
    (store.root / OUTCOMES).unlink()
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
        record = store.records("runs")[run.name]
        files = record["files"] | {path.name: file_facts(path)}
        publish(path.parent, record | {"files": files})
    known = Outcomes(plan, store)
    for (run, _), share in zip(team.members, shares, strict=True):
        assert (known.wrong(run.name) == (share.argmax(axis=1) != labels)).all()
    assert (known.wrong(team.name) == (np.mean(shares, axis=0).argmax(axis=1) != labels)).all()
    lines = listed(plan, store)
    # other outputs of the same run, with a sound checksum of their own, are not what was recorded
    kept = path.read_bytes()
    write_arrays(path, arrays | {"test_labels": labels[::-1]}, {"run": run.digest, "epoch": epoch})
    for item in (run, team):
        with pytest.raises(StoreError, match="not what the record of its run says"):
            Outcomes(plan, store).wrong(item.name)
    path.write_bytes(kept)
    assert set(lines) == {team.name, *(run.name for run, _ in team.members)}
    text = [json.dumps({"name": name, **line}) + "\n" for name, line in lines.items()]
    (store.root / OUTCOMES).write_text("".join(text))
    for run, _ in team.members:
        (store.run(run.name) / "outputs.safetensors").unlink()
    assert listed(plan, store) == lines


def listed(plan, store) -> dict[str, dict]:
    """What an archive says of each run and ensemble whose wrong images are known."""
    known = Outcomes(plan, store)
    items = [*plan.runs.values(), *plan.ensembles.values()]
    return {
        item.name: {"digest": item.digest, **wrong_images.as_bits(wrong)}
        for item in items
        if (wrong := known.wrong(item.name)) is not None
    }


LINE = {"name": "x", "digest": "ab", "images": 9, "wrong": "ff00"}


@pytest.mark.parametrize(
    "line",
    [
        '{"name": "x"\n',
        "[1]\n",
        "[" * 100_000,
        "\xff",
        *(
            json.dumps(LINE | {key: value})
            for key, value in [
                ("name", ["x"]), ("digest", None), ("images", "9"), ("images", 99), ("images", -1),
                ("images", True), ("wrong", "ff"), ("wrong", "fz00"), ("wrong", None),
            ]
        ),
    ],
)  # fmt: skip
def test_damaged_outcomes_are_named(tmp_path, line):
    plan, store = made_plan(seeds=[0]), Store(tmp_path)
    (store.root / OUTCOMES).write_bytes(json.dumps(LINE).encode())
    assert Outcomes(plan, store).listed["x"]["wrong"] == "ff00"
    (store.root / OUTCOMES).write_bytes(line.encode("latin-1"))
    with pytest.raises(StoreError, match=r"outcomes\.jsonl is damaged"):
        Outcomes(plan, store)

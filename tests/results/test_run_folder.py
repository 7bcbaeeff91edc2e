"""The names of a run's files are what they have always been."""

from pathlib import Path

from kdpipe.results import run_folder

RUN = Path("results/runs/x")


def test_names():
    """Runs that were finished before are found by these names: they must not change."""
    assert run_folder.weights(RUN) == RUN / "weights.safetensors"
    assert run_folder.outputs(RUN) == RUN / "outputs.safetensors"
    assert run_folder.weights(RUN, 7) == RUN / "checkpoints/epoch-0007.safetensors"
    assert run_folder.outputs(RUN, 0) == RUN / "checkpoints/epoch-0000-outputs.safetensors"
    assert run_folder.weights(RUN, 12345) == RUN / "checkpoints/epoch-12345.safetensors"
    assert run_folder.best_weights(RUN) == RUN / "best-weights.safetensors"
    assert run_folder.best_outputs(RUN) == RUN / "best-outputs.safetensors"
    assert run_folder.unaveraged_weights(RUN) == RUN / "unaveraged-weights.safetensors"
    assert run_folder.unaveraged_outputs(RUN) == RUN / "unaveraged-outputs.safetensors"
    assert run_folder.curve(RUN) == RUN / "curve.jsonl"
    assert run_folder.state(RUN) == RUN / ".state.safetensors"
    assert run_folder.failure(RUN) == RUN / "failure.json"
    assert (run_folder.RECORD, run_folder.KEPT_RECORD) == ("record.json", ".record.json")


def test_what_a_record_lists_and_what_goes(tmp_path):
    run_folder.weights(tmp_path, 3).parent.mkdir()
    listed = [run_folder.weights(tmp_path, 3), run_folder.curve(tmp_path)]
    gone = [run_folder.state(tmp_path), run_folder.failure(tmp_path)]
    gone.append(tmp_path / "checkpoints" / ".epoch-0003.safetensors.x.tmp")
    stays = [tmp_path / run_folder.RECORD, tmp_path / run_folder.LOCK]
    for path in (*listed, *gone, *stays):
        path.write_text("x")
    assert run_folder.listed(tmp_path) == sorted(listed)
    assert set(run_folder.leftovers(tmp_path)) == set(gone)
    assert run_folder.checkpoint_files(tmp_path, 3) == listed[:1]

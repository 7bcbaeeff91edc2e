"""The names of a run's files are what they have always been."""

from pathlib import Path

from kdpipe.runs import run_folder

RUN = Path("results/runs/x")


def test_names():
    """Runs that were finished before are found by these names: they must not change."""
    assert run_folder.weights_path(RUN) == RUN / "weights.safetensors"
    assert run_folder.outputs_path(RUN) == RUN / "outputs.safetensors"
    assert run_folder.weights_path(RUN, 7) == RUN / "checkpoints/epoch-0007.safetensors"
    assert run_folder.outputs_path(RUN, 0) == RUN / "checkpoints/epoch-0000-outputs.safetensors"
    assert run_folder.weights_path(RUN, 12345) == RUN / "checkpoints/epoch-12345.safetensors"
    assert run_folder.best_weights_path(RUN) == RUN / "best-weights.safetensors"
    assert run_folder.best_outputs_path(RUN) == RUN / "best-outputs.safetensors"
    assert run_folder.unaveraged_weights_path(RUN) == RUN / "unaveraged-weights.safetensors"
    assert run_folder.unaveraged_outputs_path(RUN) == RUN / "unaveraged-outputs.safetensors"
    errors = RUN / "validation-errors.safetensors"
    assert run_folder.validation_errors_path(RUN) == errors
    assert run_folder.curve_path(RUN) == RUN / "curve.jsonl"
    assert run_folder.state_path(RUN) == RUN / ".state.safetensors"
    assert run_folder.progress_path(RUN) == RUN / ".progress.json"
    assert run_folder.failure_path(RUN) == RUN / "failure.json"
    assert (run_folder.RECORD_FILE, run_folder.RECORD_COPY_FILE) == ("record.json", ".record.json")


def test_what_a_record_lists_and_what_goes(tmp_path):
    run_folder.weights_path(tmp_path, 3).parent.mkdir()
    listed = [run_folder.weights_path(tmp_path, 3), run_folder.curve_path(tmp_path)]
    gone = [run_folder.state_path(tmp_path), run_folder.failure_path(tmp_path)]
    gone.append(run_folder.progress_path(tmp_path))
    gone.append(tmp_path / "checkpoints" / ".epoch-0003.safetensors.x.tmp")
    stays = [tmp_path / run_folder.RECORD_FILE, tmp_path / run_folder.LOCK_FILE]
    for path in (*listed, *gone, *stays):
        path.write_text("x")
    assert run_folder.list_run_files(tmp_path) == sorted(listed)
    assert set(run_folder.list_job_leftovers(tmp_path)) == set(gone)
    assert run_folder.find_checkpoint_files(tmp_path, 3) == listed[:1]

"""What the command line of a job is told: no more than differs from a job that is told nothing."""

from pathlib import Path

from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions


def test_only_what_is_not_the_default_is_told():
    assert CPU_OPTIONS.to_arguments() == ExecutionOptions().to_arguments() == []
    means = ExecutionOptions("cuda", 2, "any", Path("w.pt"), Path("code"), 4)
    assert means.to_arguments() == [
        "--device=cuda",
        "--runs-per-gpu=2",
        "--kernels=any",
        "--weights=w.pt",
        "--code=code",
        "--workers=4",
    ]

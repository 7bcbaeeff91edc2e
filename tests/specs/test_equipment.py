"""What the command line of a job is told: no more than differs from a job that is told nothing."""

from pathlib import Path

from kdpipe.specs.equipment import CPU, Means


def test_only_what_is_not_the_default_is_told():
    assert CPU.options() == Means().options() == []
    means = Means("cuda", 2, "any", Path("w.pt"), Path("code"), 4)
    assert means.options() == [
        "--device=cuda",
        "--runs-per-gpu=2",
        "--kernels=any",
        "--weights=w.pt",
        "--code=code",
        "--workers=4",
    ]

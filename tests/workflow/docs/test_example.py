"""The pictures of examples/own_images: tests/workflow/docs/test_commands.py walks the rest."""

import numpy as np
from helpers.snakemake_sandbox import ROOT


def test_no_picture_of_training_is_one_of_test(tmp_path, monkeypatch):
    """Nor do they share a pixel: they are cut out of two parts of each photograph."""
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "own_images"))
    import photographs

    columns = np.broadcast_to(np.arange(250, dtype=np.uint8)[None, :, None], (120, 250, 3))
    rng = np.random.default_rng(1)
    for part, low, high in (((0, 0.6), 0, 149), ((0.6, 1), 150, 249)):
        for _ in range(30):
            cut = np.asarray(photographs.cut(np.ascontiguousarray(columns), *part, rng))
            assert cut.min() >= low - 2 and cut.max() <= high + 2

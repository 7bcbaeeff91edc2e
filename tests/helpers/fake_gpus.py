"""kdpipe on a machine that only pretends to have GPUs: cuda trains on the CPU, the rest is real.

With $PRETENDED a training writes what it sees into $PRETENDED/<process>, then waits for
$PRETENDED/go.
"""

import os
import sys
import time
from pathlib import Path

from kdpipe.cli.main import main
from kdpipe.devices import determinism, gpus


def torch_device(device: str, kernels: str = "deterministic"):
    import torch

    if device == "cuda" and "PRETENDED" in os.environ:
        folder = Path(os.environ["PRETENDED"])
        seen = f"{os.environ.get('SLURMD_NODENAME', '')} {os.environ['CUDA_VISIBLE_DEVICES']}"
        (folder / str(os.getpid())).write_text(seen)
        while not (folder / "go").exists():
            time.sleep(0.1)
    torch.cuda.get_device_name = lambda *_: "pretended"
    torch.cuda.get_device_capability = lambda *_: (8, 0)
    return torch.device("cpu")


determinism.prepare_torch_device = torch_device
gpus._find_reasons = lambda gpus: dict.fromkeys(gpus)
sys.exit(main())

"""kdpipe on a machine that only pretends to have GPUs: cuda trains on the CPU, the rest is real.

A training writes what it sees into $PRETENDED/<process>, then waits for $PRETENDED/go.
"""

import os
import sys
import time
from pathlib import Path

from kdpipe.cli.main import main
from kdpipe.training import devices


def torch_device(device: str):
    import torch

    folder = Path(os.environ["PRETENDED"])
    seen = f"{os.environ.get('SLURMD_NODENAME', '')} {os.environ['CUDA_VISIBLE_DEVICES']}"
    (folder / str(os.getpid())).write_text(seen)
    while not (folder / "go").exists():
        time.sleep(0.1)
    torch.cuda.get_device_name = lambda *_: "pretended"
    return torch.device("cpu")


devices.torch_device = torch_device
sys.exit(main())

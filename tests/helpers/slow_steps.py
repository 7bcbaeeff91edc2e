"""kdpipe whose training steps take half a second: it waits, so that long runs cost no processor."""

import sys
import time

from kdpipe.cli.main import main

if sys.argv[1:2] == ["train"]:
    from kdpipe.training.optim import Optimizer

    real = Optimizer.step

    def step(self, lr):
        real(self, lr)
        time.sleep(0.5)

    Optimizer.step = step
sys.exit(main())

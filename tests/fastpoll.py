"""Snakemake as `python fastpoll.py ...`, looking at its SLURM jobs every second.

For tests alone: the plugin looks every 30 to 180 seconds, which is right for jobs of hours.
`python fastpoll.py run ...` is `kdpipe run ...`, which becomes Snakemake in this process.
"""

import os
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from kdpipe.cli.main import main as kdpipe

RemoteExecutor.next_seconds_between_status_checks = property(
    lambda executor: 1, lambda executor, seconds: None
)


def become(_, line: list[str]) -> None:
    """`python -P -m snakemake ...`"""
    sys.argv = ["snakemake", *line[4:]]
    main()


os.execv = become
if sys.argv[1:2] == ["run"]:
    sys.exit(kdpipe(sys.argv[1:]))
sys.argv[0] = "snakemake"
main()

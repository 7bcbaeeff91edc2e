"""Snakemake as `python fast_polling.py ...`, looking at its SLURM jobs every second.

For tests alone: the plugin looks every 30 to 180 seconds, which is right for jobs of hours.
`python fast_polling.py run ...` is `kdpipe run ...`, which starts this for Snakemake.
"""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from kdpipe.cli.main import main as kdpipe
from kdpipe.workflow import run_snakemake

RemoteExecutor.next_seconds_between_status_checks = property(
    lambda executor: 1, lambda executor, seconds: None
)
SNAKEMAKE = [sys.executable, "-P", "-m", run_snakemake.ENTRY_MODULE]
command = run_snakemake.build_command


def polling(*requests) -> list[str]:
    line = command(*requests)
    assert line[: len(SNAKEMAKE)] == SNAKEMAKE
    return [sys.executable, "-P", __file__, *line[len(SNAKEMAKE) :]]


run_snakemake.build_command = polling
if sys.argv[1:2] == ["run"]:
    sys.exit(kdpipe(sys.argv[1:]))
sys.argv[0] = "snakemake"
main()

"""Snakemake as `python fastpoll.py ...`, looking at its SLURM jobs every second.

For tests alone: the plugin looks every 30 to 180 seconds, which is right for jobs of hours.
"""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(
    lambda executor: 1, lambda executor, seconds: None
)
sys.argv[0] = "snakemake"
main()

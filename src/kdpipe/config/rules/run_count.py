"""The maximum number of runs of a plan."""

from collections.abc import Iterator

from kdpipe.config.count_runs import RunCounter
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule

MAX_RUNS = 100_000  # a plan of 10,000 takes a second or two


def _check_run_count(config: PartialConfig) -> Iterator[str]:
    """Check that a plan of the study is not too large."""
    count = RunCounter(config).count_runs()
    if count > MAX_RUNS:
        yield (
            f"this study has about {count:,} runs, and at most {MAX_RUNS:,} can be planned: "
            "shorten its lists"
        )


RULE = Rule(120, _check_run_count, last=True)

"""`kdpipe gpu-check`: whether this machine's GPU computes what it should, and how fast."""

from pathlib import Path

from kdpipe.cli.command import Command


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe gpu-check`."""
    help = "the file that is written, to be sent with an issue; default: gpu-check.json"
    parser.add_argument(
        "--json", type=Path, default=Path("gpu-check.json"), metavar="FILE", help=help
    )
    help = "with the smallest networks, in a minute or two: whether everything runs"
    parser.add_argument("--quick", action="store_true", help=help)


def run(options) -> int:
    """Compare this machine's GPU with what it should compute."""
    from kdpipe.gpu_check import runner

    name = runner.select_gpu()
    print(f"GPU {name}: {runner.MAX_MINUTES} minutes at most", flush=True)
    gpu_info = runner.query_gpu_info()
    results: list[runner.CheckResult] = []
    for result in runner.run_checks(options.quick):
        print(runner.format_row(result), flush=True)
        results.append(result)  # written at once, so that an interrupted check has a file too
        runner.write_report(options.json, gpu_info, runner.list_versions(), options.quick, results)
    print(runner.format_summary(results, options.json))
    return int(any(result.outcome.passed is False for result in results))


COMMAND = Command(
    order=105,
    help="compare what this machine's GPU computes, and how fast, with what it should",
    add_arguments=add_arguments,
    run=run,
)

"""`kdpipe gpu-check`: check the results and the speed of this machine's GPU."""

from pathlib import Path

from kdpipe.cli.command import Command


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe gpu-check`."""
    help = "output file, to attach to an issue; default: gpu-check.json"
    parser.add_argument(
        "--json", type=Path, default=Path("gpu-check.json"), metavar="FILE", help=help
    )
    help = "only check that everything runs, with the smallest networks, in a minute or two"
    parser.add_argument("--quick", action="store_true", help=help)


def run(options) -> int:
    """Compare the results of this machine's GPU with reference results."""
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
    help="check the results and the speed of this machine's GPU",
    add_arguments=add_arguments,
    run=run,
)

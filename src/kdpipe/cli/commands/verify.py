"""`kdpipe verify`: is every file of the results folder what its record says it is?"""

from kdpipe.cli.arguments import add_reports, add_results, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    add_reports(parser)
    add_results(parser)


def run(options) -> int:
    from kdpipe.report import leftovers
    from kdpipe.upkeep.verify import faults, left_lying, strangers

    found = [*faults(store(options)), *map(left_lying, leftovers.of(options.reports))]
    said = found or [f"{options.results}: every file is whole"]
    print("\n".join([*said, *strangers(store(options))]))
    return 2 if found else 0


COMMAND = Command(
    order=60,
    help="check every file of the results folder by its checksum",
    arguments=arguments,
    run=run,
    without=("torch",),
)

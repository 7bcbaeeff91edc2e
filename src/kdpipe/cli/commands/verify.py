"""`kdpipe verify`: is every file of the results folder what its record says it is?"""

from kdpipe.cli.arguments import add_results, store
from kdpipe.cli.command import Command


def run(options) -> int:
    from kdpipe.upkeep.verify import faults, strangers

    found = list(faults(store(options)))
    said = found or [f"{options.results}: every file is whole"]
    print("\n".join([*said, *strangers(store(options))]))
    return 2 if found else 0


COMMAND = Command(
    order=60,
    help="check every file of the results folder by its checksum",
    arguments=add_results,
    run=run,
    without=("torch",),
)

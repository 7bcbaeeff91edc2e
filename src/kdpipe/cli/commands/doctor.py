"""`kdpipe doctor`: print what a bug report needs to know of this machine."""

from kdpipe.cli.command import Command, add_results, open_store


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe doctor`."""
    add_results(parser)


def run(options) -> None:
    """Print versions, hardware, cluster and the last failure."""
    from kdpipe.workflow import doctor

    for name, value in doctor.describe_installation(open_store(options)):
        print(f"{name:<14} {value}")


COMMAND = Command(
    order=106,
    help="print versions, hardware and the last failure, for a bug report",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch", "pandas"),
)

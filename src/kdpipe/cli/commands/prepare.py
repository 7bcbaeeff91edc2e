"""`kdpipe prepare DATA`: prepare a data set, once for all runs."""

from kdpipe.cli.command import Command, add_results, open_store


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe prepare`."""
    parser.add_argument("data", help="name of the data set")
    parser.add_argument("--path", help="folder of its files; by default they are downloaded")
    parser.add_argument("--card", help="card of a custom data set, if it is not next to the data")
    parser.add_argument(
        "--unlabelled", metavar="PATH", help="prepare unlabelled images for it instead"
    )
    add_results(parser)


def run(options) -> None:
    """Prepare a data set."""
    from kdpipe.jobs.prepare import prepare_dataset

    print(
        prepare_dataset(
            options.data, open_store(options), options.path, options.card, options.unlabelled
        )
    )


COMMAND = Command(
    order=210,
    help="prepare a data set (called by a rule)",
    add_arguments=add_arguments,
    run=run,
)

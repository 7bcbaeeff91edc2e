"""`kdpipe prepare DATA`: the images of a data set, made ready once for all runs."""

from kdpipe.cli.command import Command, add_results, open_store


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe prepare`."""
    parser.add_argument("data", help="its name")
    parser.add_argument("--path", help="where its files lie; else they are downloaded")
    parser.add_argument("--card", help="the card of one's own data, if it is not beside them")
    parser.add_argument(
        "--unlabelled", metavar="PATH", help="prepare images without labels beside it instead"
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

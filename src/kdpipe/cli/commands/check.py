"""`kdpipe check STUDY`: every mistake of a study file in one answer, before anything runs."""

from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="a study file (YAML)")


def run(options) -> None:
    from kdpipe.results.store import Store
    from kdpipe.study import checking
    from kdpipe.upkeep import comparing
    from kdpipe.workflow import before

    made, starts = before.checked(options.study)
    comparing.refuse(options.study, comparing.of_prepared(made, Store()))
    first = f"{options.study}: no mistakes; {len(made.runs):,} runs"
    said = [*starts, *comparing.gone(made, Store()), *checking.notes(made.study)]
    print("\n".join([first, *said]))


COMMAND = Command(
    order=10,
    help="say every mistake of a study file, or that it has none",
    arguments=arguments,
    run=run,
    without=("torch", "pandas"),
)

"""`kdpipe register STUDY`: freeze what will be tested, in a file, before the first run."""

from pathlib import Path

from kdpipe.cli.arguments import add_results, store
from kdpipe.cli.command import Command
from kdpipe.errors import KdpipeError


def arguments(parser) -> None:
    parser.add_argument("study", help="a study file")
    add_results(parser)


def run(options) -> None:
    from kdpipe.beforehand import registered, registration
    from kdpipe.plan import planner
    from kdpipe.study import checking

    study = checking.load(options.study)
    if study.search is not None:
        raise KdpipeError(
            f"{options.study}: a search chooses while it runs what is tested, so it cannot be "
            "registered; register a study of the cell that it finds, with seeds of its own"
        )
    place = store(options)
    path, new = registration.write(study, Path(options.study).parent, place)
    study = study.model_copy(update={"registration": str(path)})
    when = "written" if new else "written before"
    print(f"{path}: {when}; commit it with {options.study}, and leave it as it is")
    print("\n".join(registered.said(planner.make(study), place)))


COMMAND = Command(
    order=17,
    help="freeze what a study will test, before its first run",
    arguments=arguments,
    run=run,
    without=("torch",),
)

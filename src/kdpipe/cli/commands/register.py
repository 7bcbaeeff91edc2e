"""`kdpipe register STUDY`: freeze what will be tested, in a file, before the first run."""

from pathlib import Path

from kdpipe.cli.arguments import add_results, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="a study file")
    add_results(parser)


def run(options) -> None:
    from kdpipe.beforehand import registered, registration
    from kdpipe.study import checking

    study = checking.load(options.study)
    path, new = registration.write(study, Path(options.study).parent, store(options))
    study = study.model_copy(update={"registration": str(path)})
    when = "written" if new else "written before"
    print(f"{path}: {when}; commit it with {options.study}, and leave it as it is")
    print("\n".join(registered.said(study, registered.read(study))))


COMMAND = Command(
    order=17,
    help="freeze what a study will test, before its first run",
    arguments=arguments,
    run=run,
    without=("torch",),
)

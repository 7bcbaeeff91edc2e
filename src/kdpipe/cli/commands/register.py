"""`kdpipe register STUDY`: freeze what will be tested, in a file, before the first run."""

from pathlib import Path

from kdpipe.cli.command import Command, add_results, open_store
from kdpipe.errors import KdpipeError


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe register`."""
    parser.add_argument("study", help="a study file")
    add_results(parser)


def run(options) -> None:
    """Write the registration of a study and print what it will test."""
    from kdpipe.analysis.preregistration import register, registration
    from kdpipe.config import load
    from kdpipe.plan import planner

    study = load.load_study(options.study)
    if study.search is not None:
        raise KdpipeError(
            f"{options.study}: a search chooses while it runs what is tested, so it cannot be "
            "registered; register a study of the cell that it finds, with seeds of its own"
        )
    store = open_store(options)
    path, is_new = register.register_study(study, Path(options.study).parent, store)
    study = study.model_copy(update={"registration": str(path)})
    when = "written" if is_new else "written before"
    print(f"{path}: {when}; commit it with {options.study}, and leave it as it is")
    print("\n".join(registration.describe_registration(planner.build_plan(study), store)))


COMMAND = Command(
    order=17,
    help="freeze what a study will test, before its first run",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch",),
)

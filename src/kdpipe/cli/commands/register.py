"""`kdpipe register STUDY`: preregister a study's hypotheses before the first run."""

from pathlib import Path

from kdpipe.cli.command import Command, add_results, open_store
from kdpipe.errors import KdpipeError


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe register`."""
    parser.add_argument("study", help="a study file")
    parser.add_argument(
        "--keep-claims",
        metavar="FILE",
        help="the claims.json that the registered version of kdpipe has made of the same records: "
        "it is kept with the results, and reports say whether their own agrees",
    )
    add_results(parser)


def run(options) -> None:
    """Write the registration of a study and print the hypotheses that it will test."""
    from kdpipe.analysis.preregistration import register, registration
    from kdpipe.config import load
    from kdpipe.plan import planner

    study = load.load_study(options.study)
    if study.search is not None:
        raise KdpipeError(
            f"{options.study}: a search cannot be registered, since its results determine what is "
            "tested; register a study of the cell that it selects, with new seeds"
        )
    store = open_store(options)
    if options.keep_claims is not None:
        kept_path = registration.keep_claims(study, Path(options.keep_claims), store)
        print(f"{kept_path}: the claims of {options.keep_claims}; reports compare theirs with them")
        return
    path, is_new = register.register_study(study, Path(options.study).parent, store)
    study = study.model_copy(update={"registration": str(path)})
    when = "written" if is_new else "written before"
    print(f"{path}: {when}; commit it with {options.study}, and do not edit it")
    print("\n".join(registration.describe_registration(planner.build_plan(study), store)))


COMMAND = Command(
    order=17,
    help="preregister the hypotheses of a study, before its first run",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch",),
)

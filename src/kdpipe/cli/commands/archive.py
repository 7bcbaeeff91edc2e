"""`kdpipe archive STUDY`: archive a study's records and its report."""

from pathlib import Path

from kdpipe.cli.command import Command, add_results, open_store
from kdpipe.errors import raise_study_errors


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe archive`."""
    parser.add_argument("study", help="a study file")
    parser.add_argument(
        "--to",
        metavar="DIR",
        help=(
            "write only the records, to this folder, or to a bucket (s3://BUCKET/PREFIX) the "
            "finished runs with their files; default: records and report, to "
            "reports/published/STUDY"
        ),
    )
    add_results(parser)


def run(options) -> None:
    """Write the records of a study to one file, and render the report from it."""
    from kdpipe.analysis.search import rounds
    from kdpipe.config import load
    from kdpipe.runs.integrity import archive, bucket, data_drift

    store = open_store(options)
    plan = rounds.plan_due_runs(load.load_study(options.study), store)
    raise_study_errors(options.study, data_drift.find_changed_preparations(plan, store))
    if options.to and bucket.is_url(options.to):
        print(archive.upload_study(plan, store, options.to))
        return
    folder = Path(options.to or Path("reports") / "published" / plan.study.study)
    print(archive.archive_study(plan, store, folder))
    if not options.to:
        from kdpipe.report.render import render_report
        from kdpipe.runs.store import Store

        render_report(plan, Store(folder), folder, options.study)
        print(f"{folder}/index.html: rendered from it")


COMMAND = Command(
    order=40,
    help="archive the records and the report of a study",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch", "s3fs"),
)

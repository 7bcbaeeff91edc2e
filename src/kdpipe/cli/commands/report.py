"""`kdpipe report STUDY`: render page, tables and figures from the records."""

import os
import sys
from pathlib import Path

from kdpipe.cli.command import Command, add_reports, add_results, open_store
from kdpipe.errors import raise_study_errors


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe report`."""
    parser.add_argument("study", help="a study file; `-` reads it from standard input")
    add_reports(parser)
    add_results(parser)
    parser.add_argument(
        "--row",
        nargs=2,
        metavar=("TABLE", "NUMBER"),
        help="write nothing: print this row of a table in full, with the runs behind each number",
    )


def run(options) -> None:
    """Render the report of a study from its records."""
    from kdpipe.analysis.preregistration import registration
    from kdpipe.analysis.search import rounds, state
    from kdpipe.config import load
    from kdpipe.plan import status
    from kdpipe.report import fingerprint, workers
    from kdpipe.runs.integrity import data_drift
    from kdpipe.workflow import run_snakemake, status_text

    if options.study == "-":
        content = load.parse_yaml(sys.stdin.buffer.read(), "standard input")
    else:
        content = load.read_yaml(options.study)
    study = load.validate_study(content, options.study, Path(options.study).parent)
    store = open_store(options)
    plan, search_state = rounds.advance_search(study, store)
    raise_study_errors(options.study, data_drift.find_changed_preparations(plan, store))
    # An archive has no search journal: the decisions follow from its records.
    if search_state is not None and (store.root / "runs").is_dir():
        state.save_journal(search_state, store)
    status.require_records(plan, store, failures=True)  # before the libraries that take a second
    store = status.hide_altered(plan, store)
    if options.row is not None:
        from kdpipe.report.render import describe_table_row

        with workers.single_threaded():
            print(describe_table_row(plan, store, *options.row))
        return
    study_file = options.study
    if study_file == "-":  # of a rule
        study_file = os.environ.get(run_snakemake.STUDY_FILE_ENV, "STUDY")
    folder = options.reports / study.study
    if fingerprint.is_unchanged(plan, store, folder, study_file):
        registration.note_looks(plan, store)
        outcome = "unchanged"
    else:
        worker_count = workers.start_server()
        with workers.single_threaded():
            from kdpipe.report.render import render_report

            render_report(plan, store, folder, study_file, worker_count)
        outcome = "rendered"
    incomplete = status_text.format_incomplete(plan, store, options.study)
    print(f"{folder}/index.html: {outcome}{incomplete}")


COMMAND = Command(
    order=30,
    help="render the report of a study from its records",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch",),
)

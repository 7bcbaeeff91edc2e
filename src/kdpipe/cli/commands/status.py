"""`kdpipe status STUDY`: show a study's progress, and why jobs failed."""

from kdpipe.cli.command import (
    Command,
    add_reports,
    add_results,
    add_share,
    count_gpu_slots,
    open_store,
    resolve_device,
    select_share,
)


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe status`."""
    parser.add_argument("study", help="a study file")
    add_share(parser)
    add_reports(parser)
    add_results(parser)


def run(options) -> None:
    """Print the progress of a study."""
    from kdpipe.analysis.search import forecast, rounds
    from kdpipe.config import load
    from kdpipe.plan import share
    from kdpipe.workflow import status_text

    store = open_store(options)
    due_plan, search_state = rounds.advance_search(load.load_study(options.study), store)
    plan = select_share(due_plan, options)
    for line in share.describe_share(plan, store):
        print(line)
    print(
        status_text.format_status(
            plan, store, resolve_device(plan.study), count_gpu_slots(plan.study)
        )
    )
    if search_state is not None and (progress := forecast.format_progress(search_state)):
        print(progress)
    for line in status_text.find_renamed_reports(plan, options.reports):
        print(line)


COMMAND = Command(
    order=50,
    help="show what is done, running, failed and to do, and the time left",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch", "pandas"),
)

"""`kdpipe check STUDY`: validate a study file and report all errors at once.

`kdpipe check STUDY --write` writes the cards that it needs before that.
"""

from kdpipe.cli.command import Command
from kdpipe.errors import raise_study_errors
from kdpipe.text import format_count


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe check`."""
    parser.add_argument("study", help="a study file (YAML)")
    help = "first write the cards that it needs: of its images, networks and loss terms"
    parser.add_argument("--write", action="store_true", help=help)


def run(options) -> None:
    """Print all errors of a study file, or that it has none."""
    from kdpipe.config import load
    from kdpipe.runs.integrity import data_drift
    from kdpipe.runs.store import Store
    from kdpipe.workflow import preflight

    if options.write:
        from kdpipe.workflow import card_writer

        for line in card_writer.write_cards(options.study, Store()):
            print(line, flush=True)
    plan, starts = preflight.run_preflight(options.study)
    raise_study_errors(options.study, data_drift.find_changed_preparations(plan, Store()))
    first_line = f"{options.study}: no errors; {format_count(len(plan.runs), 'run')}"
    messages = [
        *starts,
        *data_drift.find_missing_images(plan, Store()),
        *data_drift.find_missing_weights(plan, plan.runs),
        *load.collect_notes(plan.study),
    ]
    print("\n".join([first_line, *messages]))


COMMAND = Command(
    order=10,
    help="validate a study file and list all its errors",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch", "pandas"),
)

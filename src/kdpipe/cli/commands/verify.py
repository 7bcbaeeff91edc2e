"""`kdpipe verify`: check the results folder against the checksums in its records."""

from kdpipe.cli.command import Command, add_reports, add_results, open_store


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe verify`."""
    add_reports(parser)
    add_results(parser)


def run(options) -> int:
    """Check every file of the results folder against its record."""
    from kdpipe.report import fingerprint
    from kdpipe.runs.integrity.verify import (
        format_orphan,
        list_archive_notes,
        list_foreign_folders,
        verify_store,
    )

    store = open_store(options)
    errors = [
        *verify_store(store),
        *map(format_orphan, fingerprint.find_report_orphans(options.reports)),
    ]
    lines = errors or [f"{options.results}: all files are intact"]
    print("\n".join([*lines, *list_archive_notes(store), *list_foreign_folders(store)]))
    return 2 if errors else 0


COMMAND = Command(
    order=60,
    help="verify the checksums of all files in the results folder",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch",),
)

"""`kdpipe merge RESULTS...`: bring finished runs of other results folders into this one."""

from kdpipe.cli.command import Command, add_results, open_store


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe merge`."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="RESULTS",
        help="results folders of other machines, archives, or buckets (s3://BUCKET/PREFIX)",
    )
    add_results(parser)


def run(options) -> int:
    """Merge other results folders into this one; print what was merged and what was left out."""
    from kdpipe.runs.integrity import merge

    target = open_store(options)
    with merge.open_sources(options.sources, target) as sources:
        summaries = merge.merge_results(sources, target)
    print("\n".join(line for summary in summaries for line in summary.format_lines()))
    return 2 if any(summary.problems for summary in summaries) else 0


COMMAND = Command(
    order=45,
    help="bring the finished runs of other results folders into this one",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch", "s3fs"),
)

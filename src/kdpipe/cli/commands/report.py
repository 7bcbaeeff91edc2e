"""`kdpipe report STUDY`: the page, tables and figures again, from the records alone."""

import sys
from pathlib import Path

from kdpipe.cli.arguments import add_reports, add_results, store
from kdpipe.cli.command import Command


def arguments(parser) -> None:
    parser.add_argument("study", help="a study file; `-` reads it from standard input")
    add_reports(parser)
    add_results(parser)


def run(options) -> None:
    from kdpipe.plan import hindrances
    from kdpipe.report.render import render
    from kdpipe.search import decisions, due
    from kdpipe.study import checking, yaml_file
    from kdpipe.upkeep import comparing, watching

    if options.study == "-":
        content = yaml_file.parse(sys.stdin.buffer.read(), "standard input")
    else:
        content = yaml_file.read(options.study)
    study = checking.validate(content, options.study, Path(options.study).parent)
    place = store(options)
    made, searched = due.look(study, place)
    comparing.refuse(options.study, comparing.of_prepared(made, place))
    # An archive has no decisions: its records say them.
    if searched is not None and (place.root / "runs").is_dir():
        decisions.keep(searched, place)
    place = hindrances.by_altered_files(made, place)
    folder = render(made, place, options.reports / study.study)
    print(f"{folder}/index.html: rendered{watching.missing(made, place, options.study)}")


COMMAND = Command(
    order=30,
    help="render tables from the records, without torch",
    arguments=arguments,
    run=run,
    without=("torch",),
)

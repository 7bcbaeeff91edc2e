"""`kdpipe gpu-check`: whether this machine's GPU computes what it should, and how fast."""

from pathlib import Path

from kdpipe.cli.command import Command


def arguments(parser) -> None:
    help = "the file that is written, to be sent with an issue; default: gpu-check.json"
    parser.add_argument(
        "--json", type=Path, default=Path("gpu-check.json"), metavar="FILE", help=help
    )
    help = "with the smallest networks, in a minute or two: whether everything runs"
    parser.add_argument("--quick", action="store_true", help=help)


def run(options) -> int:
    from kdpipe.selfcheck import look, written

    name = look.gpu()
    print(f"GPU {name}: {look.MINUTES} minutes at most", flush=True)
    about = look.facts()
    found: list[look.Found] = []
    for one in look.look(options.quick):
        print(written.line(one), flush=True)
        found.append(one)  # and written at once: whoever ends it has what there is
        written.write(options.json, about, look.versions(), options.quick, found)
    print(written.last(found, options.json))
    return int(any(one.outcome.passed is False for one in found))


COMMAND = Command(
    order=105,
    help="compare what this machine's GPU computes, and how fast, with what it should",
    arguments=arguments,
    run=run,
)

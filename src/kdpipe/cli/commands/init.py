"""`kdpipe init PATH`: a card and a first study for a folder of images, or for a known data set."""

from pathlib import Path

from kdpipe.cli.command import Command


def arguments(parser) -> None:
    add = parser.add_argument
    add("what", metavar="PATH", help="a folder of classes, a .npz, or the name of a known data set")
    add("--study", type=Path, metavar="FILE", help="where to write it; default: NAME.yaml")
    help = "what the study may take on this machine; its sizes follow from it; default: 5"
    add("--minutes", type=float, default=5.0, metavar="M", help=help)
    help = "what PATH/val is, where there is no PATH/test"
    add("--val-is", choices=("validation", "test"), help=help)


def run(options) -> None:
    from kdpipe.errors import KdpipeError
    from kdpipe.sketch import written

    if not 0 < options.minutes < 1e6:
        raise KdpipeError(f"--minutes {options.minutes:g}: more than 0")
    source = written.source_of(options.what)
    print(written.write(source, options.study, options.minutes, options.val_is))


COMMAND = Command(
    order=5,
    help="write a first study for a folder of images, with its card",
    arguments=arguments,
    run=run,
)

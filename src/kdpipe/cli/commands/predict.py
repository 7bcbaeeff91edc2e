"""`kdpipe predict EXPORT IMAGE...`: what an exported network says of pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kdpipe.cli.command import Command

SHOWN = 3  # classes of an image, in the table


def arguments(parser) -> None:
    add = parser.add_argument
    add("export", type=Path, metavar="EXPORT", help="a folder that kdpipe export has written")
    help = "pictures, and folders of them"
    add("images", type=Path, nargs="+", metavar="IMAGE", help=help)
    add("--json", action="store_true", help="a line of JSON for each, with every class")
    help = "which of its graphs; default: the one that it was made to ship"
    add("--model", choices=("float", "int8"), help=help)


def run(options) -> int:
    from kdpipe.errors import DataError
    from kdpipe.shipping import classifier
    from kdpipe.wording import printable

    classify = classifier.load(options.export, options.model)
    failed = 0
    for path in _pictures(options.images):
        try:
            found = classify(path)
        except DataError as error:
            print(f"kdpipe: {printable(error)}", file=sys.stderr)
            failed += 1
            continue
        assert isinstance(found, dict)
        if options.json:
            print(json.dumps({"image": str(path), "class": next(iter(found)), "shares": found}))
        else:
            best = list(found.items())[:SHOWN]
            print(f"{path}  " + "  ".join(f"{name} {share:.4f}" for name, share in best))
    return 2 if failed else 0


def _pictures(given: list[Path]):
    """The files that are named, and those below the folders, in their order."""
    from kdpipe.data.own.pictures import SUFFIXES
    from kdpipe.errors import KdpipeError

    for path in given:
        if not path.exists():
            raise KdpipeError(f"there is no picture or folder {path}")
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        found = [one for one in below if one.is_file() and one.suffix.lower() in SUFFIXES]
        if path.is_dir() and not found:
            raise KdpipeError(f"{path} has no pictures in it ({', '.join(SUFFIXES)})")
        yield from found if path.is_dir() else [path]


COMMAND = Command(
    order=38,
    help="ask an exported network about pictures",
    arguments=arguments,
    run=run,
    without=("torch", "pandas", "snakemake"),
)

"""`kdpipe predict EXPORT IMAGE...`: classify images with an exported network."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from kdpipe.cli.command import Command

TOP_CLASSES = 3  # classes of an image, in the table
TIME_LIMIT = 120.0  # seconds


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe predict`."""
    add = parser.add_argument
    add("export", type=Path, metavar="EXPORT", help="a folder written by kdpipe export")
    help = "image files, or folders of images"
    add("images", type=Path, nargs="+", metavar="IMAGE", help=help)
    add(
        "--json",
        action="store_true",
        help="print one line of JSON per image, with the probabilities of all classes",
    )
    help = "compare the pixels that other code made of these images, in their order: uint8 or "
    help += "normalized floats, (N, C, H, W) or (N, H, W, C)"
    add("--check", type=Path, metavar="FILE.npy", help=help)
    help = "graph to use; default: the one that was selected for deployment"
    add("--model", choices=("float", "int8"), help=help)
    help = (
        f"time limit in seconds for loading the graph and for each batch (default: "
        f"{TIME_LIMIT:g}); an untrusted graph could run forever"
    )
    add("--time-limit", type=_parse_seconds, default=TIME_LIMIT, metavar="SECONDS", help=help)


def run(options) -> int:
    """Classify images with an exported network."""
    from kdpipe.export.classifier import TimeLimitError
    from kdpipe.text import escape_lines

    try:
        return _classify_images(options)
    except TimeLimitError as error:
        print(f"kdpipe: {escape_lines(error)}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(2)  # a thread is still in ONNX Runtime, which may abort a Python that ends


def _classify_images(options) -> int:
    """Classify images, or compare their pixels; return the exit code."""
    from kdpipe.errors import DataError
    from kdpipe.export import classifier
    from kdpipe.text import escape

    classify = classifier.load_classifier(
        options.export, options.model, time_limit=options.time_limit
    )
    if options.check is not None:
        from kdpipe.export import check_pixels

        paths = list(_find_images(options.images))
        lines, agrees = check_pixels.compare_pixels(classify, paths, options.check)
        print("\n".join(lines))
        return 0 if agrees else 2
    failed = 0
    for path in _find_images(options.images):
        try:
            probabilities = classify(path)
        except DataError as error:
            print(f"kdpipe: {escape(error)}", file=sys.stderr)
            failed += 1
            continue
        assert isinstance(probabilities, dict)
        if options.json:
            print(
                json.dumps(
                    {
                        "image": str(path),
                        "class": next(iter(probabilities)),
                        "shares": probabilities,
                    }
                )
            )
        else:
            best = list(probabilities.items())[:TOP_CLASSES]
            shares = "  ".join(f"{escape(name)} {share:.4f}" for name, share in best)
            print(f"{escape(path)}  {shares}")
    return 2 if failed else 0


def _parse_seconds(text: str) -> float:
    """Parse a time limit in seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


def _find_images(paths: list[Path]):
    """Yield the given image files, and those in the given folders."""
    from kdpipe.data.imagefolder.decoding import IMAGE_SUFFIXES
    from kdpipe.errors import KdpipeError

    for path in paths:
        if not path.exists():
            raise KdpipeError(f"there is no image file or folder {path}")
        candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
        images = [
            candidate
            for candidate in candidates
            if candidate.is_file() and candidate.suffix.lower() in IMAGE_SUFFIXES
        ]
        if path.is_dir() and not images:
            raise KdpipeError(f"{path} has no image files ({', '.join(IMAGE_SUFFIXES)})")
        yield from images if path.is_dir() else [path]


COMMAND = Command(
    order=38,
    help="classify images with an exported network",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch", "pandas", "snakemake"),
)

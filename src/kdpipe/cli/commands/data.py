"""`kdpipe data PATH`: the card of custom images, made once before a study can be planned.

`kdpipe data STUDY` makes the card of the images without labels that a study names.
"""

from pathlib import Path

from kdpipe.cli.command import Command
from kdpipe.errors import KdpipeError

PATH_OPTIONS = ("name", "card", "resize", "stream", "channels", "test_share", "val_is")
STUDY_SUFFIXES = (".yaml", ".yml")


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe data`."""
    add = parser.add_argument
    help = "PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or a .npz; or a study file (YAML), "
    add("path", help=help + "for the images without labels that it names as data.unlabelled")
    add("--name", help="what studies call it; default: that of the folder or file")
    add("--card", help="where to write the card; default: PATH.card.json")
    add("--resize", type=int, help="scale every image to this height and width (4 to 1024)")
    add(
        "--stream",
        type=int,
        metavar="SIDE",
        help="leave the images in their files, to be cropped to SIDE x SIDE (16 to 1024) as they "
        "are read; measures mean and std, which the study then wants",
    )
    help = "1: grey, 3: colour; default: 1 if all are grey"
    add("--channels", type=int, choices=(1, 3), help=help)
    help = "hold this share of each class out, if there is no test"
    add("--test-share", type=float, help=help)
    help = "what PATH/val is: choices are made on validation, results are reported on test"
    add("--val-is", choices=("validation", "test"), help=help)
    help = "of a study: where its data are prepared, which the images are compared with; default: "
    add("--results", type=Path, metavar="DIR", help=help + "results")


def run(options) -> None:
    """Make the card of a folder, a .npz, or a study's images without labels."""
    is_study = Path(options.path).suffix in STUDY_SUFFIXES
    for key in PATH_OPTIONS if is_study else ("results",):
        if getattr(options, key) is not None:
            owner = "a folder or .npz" if is_study else "a study file"
            raise KdpipeError(
                f"--{key.replace('_', '-')}: belongs to {owner}, not to {options.path}"
            )
    print(_make_unlabelled_card(options) if is_study else _make_image_card(options))


def _make_image_card(options) -> str:
    """Make the card of a folder or .npz and return what it has."""
    from kdpipe.data.imagefolder.custom_card import make_card

    settings = {key: getattr(options, key) for key in PATH_OPTIONS if key not in ("name", "card")}
    return make_card(Path(options.path), options.name, options.card, **settings)


def _make_unlabelled_card(options) -> str:
    """Make the card of a study's images without labels and return what it has."""
    from kdpipe.cli.command import open_store
    from kdpipe.config import load
    from kdpipe.data.imagefolder import unlabelled_builder, unlabelled_card

    options.results = options.results or Path("results")
    study = load.load_study(options.path, require_cards=False)
    if not unlabelled_card.has_unlabelled_images(study.data):
        raise KdpipeError(
            f"{options.path}: it names no folder or .npz of images without labels (data.unlabelled)"
        )
    return unlabelled_builder.make_unlabelled_card(
        study.data, study.splits, options.path, open_store(options)
    )


COMMAND = Command(
    order=80,
    help="make the card of one's own folder of classes or .npz file, or of images without labels",
    add_arguments=add_arguments,
    run=run,
)

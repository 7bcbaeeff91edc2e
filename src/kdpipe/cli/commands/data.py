"""`kdpipe data PATH`: create the card of custom images, which a plan needs.

`kdpipe data STUDY` creates the card of the unlabelled images that a study names.
"""

from pathlib import Path

from kdpipe.cli.command import Command
from kdpipe.errors import KdpipeError

PATH_OPTIONS = ("name", "card", "resize", "stream", "channels", "test_share", "val_is")
PATH_OPTIONS += ("skip_damaged",)
STUDY_SUFFIXES = (".yaml", ".yml")


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe data`."""
    add = parser.add_argument
    help = "PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or a .npz; or a study file (YAML), "
    add("path", help=help + "for its unlabelled images (data.unlabelled)")
    add("--name", help="name of the data set in studies; default: that of the folder or file")
    add("--card", help="file of the card; default: PATH.card.json")
    add("--resize", type=int, help="resize all images to this height and width (4 to 1024)")
    add(
        "--stream",
        type=int,
        metavar="SIDE",
        help="stream the images from their files, cropped to SIDE x SIDE (16 to 1024) when read; "
        "also measures mean and std, which the study then requires",
    )
    help = "1: grayscale, 3: color; default: 1 if all images are grayscale"
    add("--channels", type=int, choices=(1, 3), help=help)
    help = "fraction of each class to hold out as the test set, if there is none"
    add("--test-share", type=float, help=help)
    help = "role of PATH/val: models are selected on validation, results are reported on test"
    add("--val-is", choices=("validation", "test"), help=help)
    help = "leave out images that cannot be decoded; the card has their number"
    add("--skip-damaged", action="store_true", default=None, help=help)
    help = (
        "with a study: folder of its prepared data, with which the images are compared; default: "
    )
    add("--results", type=Path, metavar="DIR", help=help + "results")


def run(options) -> None:
    """Create the card of a folder, a .npz, or a study's unlabelled images."""
    is_study = Path(options.path).suffix in STUDY_SUFFIXES
    for key in PATH_OPTIONS if is_study else ("results",):
        if getattr(options, key) is not None:
            owner = "a folder or .npz" if is_study else "a study file"
            raise KdpipeError(
                f"--{key.replace('_', '-')}: belongs to {owner}, not to {options.path}"
            )
    print(_make_unlabelled_card(options) if is_study else _make_image_card(options))


def _make_image_card(options) -> str:
    """Create the card of a folder or .npz and return its summary."""
    from kdpipe.data.imagefolder.custom_card import make_card

    settings = {key: getattr(options, key) for key in PATH_OPTIONS if key not in ("name", "card")}
    settings["skip_damaged"] = bool(options.skip_damaged)
    return make_card(Path(options.path), options.name, options.card, **settings)


def _make_unlabelled_card(options) -> str:
    """Create the card of a study's unlabelled images and return its summary."""
    from kdpipe.cli.command import open_store
    from kdpipe.config import load
    from kdpipe.data.imagefolder import unlabelled_builder, unlabelled_card

    options.results = options.results or Path("results")
    study = load.load_study(options.path, require_cards=False)
    if not unlabelled_card.has_unlabelled_images(study.data):
        raise KdpipeError(
            f"{options.path}: data.unlabelled does not name a folder or .npz of images"
        )
    return unlabelled_builder.make_unlabelled_card(
        study.data, study.splits, options.path, open_store(options)
    )


COMMAND = Command(
    order=80,
    help="create the card of an image folder or .npz file, or of unlabelled images",
    add_arguments=add_arguments,
    run=run,
)

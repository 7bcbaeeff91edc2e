"""`kdpipe data PATH`: the card of one's own images, typed once before a study can be planned.

`kdpipe data STUDY` makes the card of the images without labels that a study names.
"""

from pathlib import Path

from kdpipe.cli.command import Command
from kdpipe.errors import KdpipeError

OF_PATH = ("name", "card", "resize", "stream", "channels", "test_share", "val_is")
STUDIES = (".yaml", ".yml")


def arguments(parser) -> None:
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
    of_study = Path(options.path).suffix in STUDIES
    for key in OF_PATH if of_study else ("results",):
        if getattr(options, key) is not None:
            beside = "a folder or .npz" if of_study else "a study file"
            raise KdpipeError(
                f"--{key.replace('_', '-')}: belongs to {beside}, not to {options.path}"
            )
    print(_of_study(options) if of_study else _of_path(options))


def _of_path(options) -> str:
    from kdpipe.data.own.card import make_card

    made = {key: getattr(options, key) for key in OF_PATH if key not in ("name", "card")}
    return make_card(Path(options.path), options.name, options.card, **made)


def _of_study(options) -> str:
    from kdpipe.cli.arguments import store
    from kdpipe.data.own.unlabelled import card, make
    from kdpipe.study import checking

    options.results = options.results or Path("results")
    study = checking.load(options.path, carded=False)
    if not card.is_own(study.data):
        raise KdpipeError(
            f"{options.path}: it names no folder or .npz of images without labels (data.unlabelled)"
        )
    return make.make_card(study.data, study.splits, options.path, store(options))


COMMAND = Command(
    order=80,
    help="make the card of one's own folder of classes or .npz file, or of images without labels",
    arguments=arguments,
    run=run,
)

"""`kdpipe data PATH`: the card of one's own images, typed once before a study can be planned."""

from pathlib import Path

from kdpipe.cli.command import Command


def arguments(parser) -> None:
    add = parser.add_argument
    add("path", help="PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or a .npz")
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


def run(options) -> None:
    from kdpipe.data.own.card import make_card

    keys = ("resize", "channels", "test_share", "stream", "val_is")
    made = {key: getattr(options, key) for key in keys}
    print(make_card(Path(options.path), options.name, options.card, **made))


COMMAND = Command(
    order=80,
    help="make the card of one's own folder of classes or .npz file",
    arguments=arguments,
    run=run,
)

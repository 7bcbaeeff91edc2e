"""TODO cli.parser, from cli."""

import argparse
from pathlib import Path

from kdpipe import __version__
from kdpipe.cli.verbs import (
    _archive,
    _check,
    _data,
    _network,
    _plan,
    _prepare,
    _probe,
    _prune,
    _report,
    _schema,
    _score,
    _status,
    _tabulate,
    _train,
    _verify,
)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdpipe", description="Which teacher, stopped when, distilled how?"
    )
    parser.add_argument("--version", action="version", version=f"kdpipe {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def verb(name: str, function, help: str) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=help, description=help)
        command.set_defaults(run=function)
        return command

    def results(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--results", type=Path, default=Path("results"), metavar="DIR", help="default: results"
        )

    def means(command: argparse.ArgumentParser) -> None:
        add = command.add_argument
        add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
        help = "jobs that share a GPU; default: 1"
        add("--runs-per-gpu", type=_at_least(1), default=1, metavar="N", help=help)
        add("--code", type=Path, help="the folder of the modules of networks of one's own")
        help = "processes that read images, where these stream from their files; default: 0"
        add("--workers", type=_at_least(0), default=0, metavar="N", help=help)

    command = verb("check", _check, "say every mistake of a study file, or that it has none")
    command.add_argument("study", help="a study file (YAML)")

    command = verb("plan", _plan, "print the runs of a study, what they cost and what is done")
    command.add_argument("study")
    command.add_argument("--json", action="store_true", help="the whole plan, run by run, as JSON")
    results(command)

    command = verb("report", _report, "render tables from the records, without torch")
    command.add_argument("study", help="a study file; `-` reads it from standard input")
    command.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="default: reports"
    )
    results(command)

    command = verb(
        "archive", _archive, "put the records of a study, and its report, where they are kept"
    )
    command.add_argument("study", help="a study file")
    command.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="the records alone, into this folder; default: both into reports/published/STUDY",
    )
    results(command)

    command = verb("status", _status, "what is done, running, failed and to do, and the time left")
    command.add_argument("study", help="a study file")
    results(command)

    command = verb("verify", _verify, "check every file of the results folder by its checksum")
    results(command)

    command = verb("prune", _prune, "show what none of the studies needs; with --yes, remove it")
    command.add_argument("studies", nargs="+", metavar="STUDY", help="every study to be kept")
    command.add_argument("--yes", action="store_true", help="remove what is shown")
    results(command)

    command = verb("data", _data, "make the card of one's own folder of classes or .npz file")
    command.add_argument("path", help="PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or a .npz")
    command.add_argument("--name", help="what studies call it; default: that of the folder or file")
    command.add_argument("--card", help="where to write the card; default: PATH.card.json")
    command.add_argument(
        "--resize", type=int, help="scale every image to this height and width (4 to 1024)"
    )
    command.add_argument(
        "--stream",
        type=int,
        metavar="SIDE",
        help="leave the images in their files, to be cropped to SIDE x SIDE (16 to 1024) as they "
        "are read; measures mean and std, which the study then wants",
    )
    command.add_argument(
        "--channels",
        type=int,
        choices=(1, 3),
        help="1: grey, 3: colour; default: 1 if all are grey",
    )
    command.add_argument(
        "--test-share", type=float, help="hold this share of each class out, if there is no test"
    )

    command = verb("network", _network, "build the networks of one's own and write their cards")
    command.add_argument("study", help="the study file that names them under `networks`")

    command = verb("schema", _schema, "print the JSON schema of a study file")

    command = verb("prepare", _prepare, "prepare a data set (called by a rule)")
    command.add_argument("data", help="its name")
    command.add_argument("--path", help="where its files lie; else they are downloaded")
    command.add_argument("--card", help="the card of one's own data, if it is not beside them")
    results(command)

    command = verb("train", _train, "train one run (called by a rule)")
    command.add_argument("--spec", required=True, help="the run's canonical JSON")
    command.add_argument("--keep", default="", help="epochs whose checkpoints stay, as 0,10,20")
    command.add_argument("--weights", type=Path, help="the file that a pretrained network brings")
    means(command)
    results(command)

    command = verb("tabulate", _tabulate, "make one teacher table (called by a rule)")
    command.add_argument("--spec", required=True, help="the table's canonical JSON")
    means(command)
    results(command)

    command = verb("score", _score, "score one ensemble from stored outputs (called by a rule)")
    command.add_argument("--spec", required=True, help="the ensemble's canonical JSON")
    results(command)

    command = verb("probe", _probe, "probe one network on another data set (called by a rule)")
    command.add_argument("--spec", required=True, help="the probe's canonical JSON")
    means(command)
    results(command)
    return parser


def _at_least(least: int):
    def count(text: str) -> int:
        if (number := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        return number

    return count

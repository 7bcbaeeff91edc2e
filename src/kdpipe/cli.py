"""The command line: one verb for each thing a person or a rule asks for.

check, plan, status, report, archive and prune take study files; prepare, train, score and probe are
what the rules call, and can be typed by hand. A mistake of the user is one message and exit code 2.
"""

import argparse
import errno
import json
import signal
import sys
from pathlib import Path

from kdpipe import __version__
from kdpipe.errors import Interrupted, KdpipeError
from kdpipe.means import Means
from kdpipe.store import Store

# Of the machine, not bugs: no space, no permission.
DENIED = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 a mistake of the user, 75 interrupted)."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except KdpipeError as error:
        print(f"kdpipe: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of `kdpipe plan | head` has gone
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in DENIED:
            raise
        print(f"kdpipe: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
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

    command = verb("archive", _archive, "put the records a report is rendered from into a folder")
    command.add_argument("study", help="a study file")
    command.add_argument(
        "--to", type=Path, metavar="DIR", help="default: reports/STUDY/records, to go with the page"
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


def _store(options) -> Store:
    """The results folder; it need not be there yet, but nothing else may be in its place."""
    there = next(path for path in (options.results, *options.results.parents) if path.exists())
    if not there.is_dir():
        raise KdpipeError(
            f"--results {options.results}: {there} is a file; give the folder that has runs/ in it"
        )
    return Store(options.results)


def _check(options) -> None:
    from kdpipe import checking, plan

    study = checking.load(options.study)
    made = plan.make(study)
    if study.networks:
        from kdpipe import network_changes  # the one check that needs torch

        network_changes.compare(study, options.study)
    print(
        "\n".join(
            [f"{options.study}: no mistakes; {len(made.runs):,} runs", *checking.notes(study)]
        )
    )


def _plan(options) -> None:
    from kdpipe import checking, plan, prices, status

    made = plan.make(checking.load(options.study))
    place = _store(options)
    states = status.of(made, place)
    if options.json:
        print(json.dumps(prices.as_json(made, states)))
    else:
        lines = [prices.as_text(made, states), prices.time(made, states, place.records("runs"))]
        print("\n".join([*filter(None, lines), *checking.notes(made.study)]))
    if warning := prices.disk_warning(made, states, options.results):
        print(warning, file=sys.stderr)


def _report(options) -> None:
    from kdpipe import checking, documents, plan, report, watch

    if options.study == "-":
        content = documents.parse(sys.stdin.buffer.read(), "standard input")
    else:
        content = documents.read(options.study)
    study = checking.validate(content, options.study, Path(options.study).parent)
    made, place = plan.make(study), _store(options)
    folder = report.render(made, place, options.reports / study.study)
    print(f"{folder}: rendered{watch.missing(made, place, options.study)}")


def _archive(options) -> None:
    from kdpipe import archive, checking, plan

    made = plan.make(checking.load(options.study))
    folder = options.to or Path("reports") / made.study.study / "records"
    print(archive.write(made, _store(options), folder))


def _status(options) -> None:
    from kdpipe import checking, plan, watch

    print(watch.as_text(plan.make(checking.load(options.study)), _store(options)))


def _verify(options) -> int:
    from kdpipe import housekeeping

    faults = list(housekeeping.faults(_store(options)))
    print("\n".join(faults) if faults else f"{options.results}: every file is whole")
    return 2 if faults else 0


def _prune(options) -> None:
    from kdpipe import checking, housekeeping, plan

    plans = [plan.make(checking.load(path)) for path in options.studies]
    print(housekeeping.prune(plans, _store(options), remove=options.yes))


def _data(options) -> None:
    from kdpipe import own

    keys = ("resize", "channels", "test_share", "stream")
    made = {key: getattr(options, key) for key in keys}
    print(own.make_card(Path(options.path), options.name, options.card, **made))


def _network(options) -> None:
    from kdpipe import checking, network_changes

    study = checking.load(options.study, carded=False)
    print("\n".join(network_changes.make_cards(study, options.study)))


def _schema(options) -> None:
    from kdpipe.study import Study

    print(json.dumps(Study.model_json_schema(), indent=1))


def _prepare(options) -> None:
    from kdpipe import jobs

    print(jobs.prepare(options.data, _store(options), options.path, options.card))


def _train(options) -> int:
    from kdpipe import jobs

    try:
        keep = sorted({int(epoch) for epoch in options.keep.split(",") if epoch})
    except ValueError:
        raise KdpipeError(f"--keep {options.keep}: write epochs as 0,10,20") from None
    signal.signal(signal.SIGTERM, _leave)  # training itself saves its state first
    try:
        place = _store(options)
        print(jobs.train(_spec(options.spec), keep, place, _means(options)))
    except Interrupted as interruption:
        print(f"interrupted: {interruption}", file=sys.stderr)
        return 75
    return 0


def _leave(*_) -> None:
    raise Interrupted("SIGTERM; nothing is lost, start it again to go on")


def _tabulate(options) -> None:
    from kdpipe import jobs

    print(jobs.tabulate(_spec(options.spec), _store(options), _means(options)))


def _score(options) -> None:
    from kdpipe import jobs

    print(jobs.score(_spec(options.spec), _store(options)))


def _probe(options) -> None:
    from kdpipe import jobs

    print(jobs.probe(_spec(options.spec), _store(options), _means(options)))


def _means(options) -> Means:
    weights = getattr(options, "weights", None)  # of a run only
    return Means(options.device, options.runs_per_gpu, weights, options.code, options.workers)


def _at_least(least: int):
    def count(text: str) -> int:
        if (number := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        return number

    return count


def _spec(text: str) -> dict:
    try:
        spec = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise KdpipeError(f"--spec is not JSON ({error})") from None
    if not isinstance(spec, dict):
        raise KdpipeError("--spec is not a JSON object")
    return spec


def _no_number(text: str):
    raise ValueError(f"{text} is not a number")

"""The command line: one verb for each thing a person or a rule asks for.

check, plan, status and report take a study file; prepare, train and score are what the rules
call, and can be typed by hand. A mistake of the user is one message and exit code 2.
"""

import argparse
import json
import sys
from pathlib import Path

from kdpipe.errors import Interrupted, KdpipeError
from kdpipe.store import Store


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdpipe", description="Which teacher, stopped when, distilled how?"
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def verb(name: str, function, help: str) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=help, description=help)
        command.set_defaults(run=function)
        return command

    def results(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--results", type=Path, default=Path("results"), metavar="DIR", help="default: results"
        )

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

    command = verb("schema", _schema, "print the JSON schema of a study file")

    command = verb("prepare", _prepare, "prepare a data set (called by a rule)")
    command.add_argument("data", help="its name")
    results(command)

    command = verb("train", _train, "train one run (called by a rule)")
    command.add_argument("--spec", required=True, help="the run's canonical JSON")
    command.add_argument("--keep", default="", help="epochs whose checkpoints stay, as 0,10,20")
    results(command)

    command = verb("score", _score, "score one ensemble from stored outputs (called by a rule)")
    command.add_argument("--spec", required=True, help="the ensemble's canonical JSON")
    results(command)
    return parser


def _check(options) -> None:
    from kdpipe import checking, plan

    study = checking.load(options.study)
    made = plan.make(study)
    print(f"{options.study}: no mistakes; {len(made.runs):,} runs")


def _plan(options) -> None:
    from kdpipe import checking, plan, prices, status

    made = plan.make(checking.load(options.study))
    states = status.of(made, Store(options.results))
    if options.json:
        print(json.dumps(prices.as_json(made, states)))
    else:
        print(prices.as_text(made, states))


def _report(options) -> None:
    from kdpipe import checking, documents, plan, report

    if options.study == "-":
        content = documents.parse(sys.stdin.buffer.read(), "standard input")
    else:
        content = documents.read(options.study)
    study = checking.validate(content, options.study)
    folder = report.render(plan.make(study), Store(options.results), options.reports / study.study)
    print(f"{folder}: rendered")


def _schema(options) -> None:
    from kdpipe.study import Study

    print(json.dumps(Study.model_json_schema(), indent=1))


def _prepare(options) -> None:
    from kdpipe import jobs

    print(jobs.prepare(options.data, Store(options.results)))


def _train(options) -> int:
    from kdpipe import jobs

    keep = sorted(int(epoch) for epoch in options.keep.split(",") if epoch)
    try:
        print(jobs.train(_spec(options.spec), keep, Store(options.results)))
    except Interrupted as interruption:
        print(f"interrupted: {interruption}", file=sys.stderr)
        return 75
    return 0


def _score(options) -> None:
    from kdpipe import jobs

    print(jobs.score(_spec(options.spec), Store(options.results)))


def _spec(text: str) -> dict:
    try:
        spec = json.loads(text)
    except ValueError as error:
        raise KdpipeError(f"--spec is not JSON ({error})") from None
    if not isinstance(spec, dict):
        raise KdpipeError("--spec is not a JSON object")
    return spec

"""TODO cli.verbs, from cli."""

import json
import signal
import sys
from pathlib import Path

from kdpipe.errors import Interrupted, KdpipeError
from kdpipe.results.store import Store
from kdpipe.specs.equipment import Means


def _store(options) -> Store:
    """The results folder; it need not be there yet, but nothing else may be in its place."""
    there = next(path for path in (options.results, *options.results.parents) if path.exists())
    if not there.is_dir():
        raise KdpipeError(
            f"--results {options.results}: {there} is a file; give the folder that has runs/ in it"
        )
    return Store(options.results)


def _check(options) -> None:
    from kdpipe.plan import planner
    from kdpipe.study import checking

    study = checking.load(options.study)
    made = planner.make(study)
    if study.networks:
        from kdpipe.networks.own import changes  # the one check that needs torch

        changes.compare(study, options.study)
    print(
        "\n".join(
            [f"{options.study}: no mistakes; {len(made.runs):,} runs", *checking.notes(study)]
        )
    )


def _plan(options) -> None:
    from kdpipe.plan import planner, prices, status
    from kdpipe.study import checking

    made = planner.make(checking.load(options.study))
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
    from kdpipe.plan import planner
    from kdpipe.report.render import render
    from kdpipe.study import checking, yaml_file
    from kdpipe.upkeep import watching

    if options.study == "-":
        content = yaml_file.parse(sys.stdin.buffer.read(), "standard input")
    else:
        content = yaml_file.read(options.study)
    study = checking.validate(content, options.study, Path(options.study).parent)
    made, place = planner.make(study), _store(options)
    folder = render(made, place, options.reports / study.study)
    print(f"{folder}/index.html: rendered{watching.missing(made, place, options.study)}")


def _archive(options) -> None:
    from kdpipe.plan import planner
    from kdpipe.study import checking
    from kdpipe.upkeep import archive

    made = planner.make(checking.load(options.study))
    folder = options.to or Path("reports") / "published" / made.study.study
    print(archive.write(made, _store(options), folder))
    if not options.to:
        from kdpipe.report.render import render

        print(f"{render(made, Store(folder), folder)}/index.html: rendered from it")


def _status(options) -> None:
    from kdpipe.plan import planner
    from kdpipe.study import checking
    from kdpipe.upkeep import watching

    print(watching.as_text(planner.make(checking.load(options.study)), _store(options)))


def _verify(options) -> int:
    from kdpipe.upkeep.verify import faults

    faults = list(faults(_store(options)))
    print("\n".join(faults) if faults else f"{options.results}: every file is whole")
    return 2 if faults else 0


def _prune(options) -> None:
    from kdpipe.plan import planner
    from kdpipe.study import checking
    from kdpipe.upkeep.prune import prune

    plans = [planner.make(checking.load(path)) for path in options.studies]
    print(prune(plans, _store(options), remove=options.yes))


def _data(options) -> None:
    from kdpipe.data.own.card import make_card

    keys = ("resize", "channels", "test_share", "stream")
    made = {key: getattr(options, key) for key in keys}
    print(make_card(Path(options.path), options.name, options.card, **made))


def _network(options) -> None:
    from kdpipe.networks.own import changes
    from kdpipe.study import checking

    study = checking.load(options.study, carded=False)
    print("\n".join(changes.make_cards(study, options.study)))


def _schema(options) -> None:
    from kdpipe.study.grammar import Study

    print(json.dumps(Study.model_json_schema(), indent=1))


def _prepare(options) -> None:
    from kdpipe.jobs.prepare import prepare

    print(prepare(options.data, _store(options), options.path, options.card))


def _train(options) -> int:
    from kdpipe.jobs.train import train

    try:
        keep = sorted({int(epoch) for epoch in options.keep.split(",") if epoch})
    except ValueError:
        raise KdpipeError(f"--keep {options.keep}: write epochs as 0,10,20") from None
    signal.signal(signal.SIGTERM, _leave)  # training itself saves its state first
    try:
        place = _store(options)
        print(train(_spec(options.spec), keep, place, _means(options)))
    except Interrupted as interruption:
        print(f"interrupted: {interruption}", file=sys.stderr)
        return 75
    return 0


def _leave(*_) -> None:
    raise Interrupted("SIGTERM; nothing is lost, start it again to go on")


def _tabulate(options) -> None:
    from kdpipe.jobs.tabulate import tabulate

    print(tabulate(_spec(options.spec), _store(options), _means(options)))


def _score(options) -> None:
    from kdpipe.jobs.score import score

    print(score(_spec(options.spec), _store(options)))


def _probe(options) -> None:
    from kdpipe.jobs.probe import probe

    print(probe(_spec(options.spec), _store(options), _means(options)))


def _means(options) -> Means:
    weights = getattr(options, "weights", None)  # of a run only
    return Means(options.device, options.runs_per_gpu, weights, options.code, options.workers)


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

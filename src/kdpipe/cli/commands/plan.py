"""`kdpipe plan STUDY`: list a study's runs, their estimated cost and what is done."""

import gc
import json
import sys
from pathlib import Path
from typing import Any

from kdpipe.cli.command import (
    Command,
    add_results,
    add_share,
    count_gpu_slots,
    open_store,
    parse_not_negative,
    parse_positive,
    resolve_device,
    select_share,
)
from kdpipe.errors import KdpipeError, raise_study_errors


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe plan`."""
    parser.add_argument("study", help="a study file")
    parser.add_argument(
        "--json", action="store_true", help="print the whole plan as JSON, run by run"
    )
    help = (
        "first benchmark the study's networks on this machine, for at most a minute, and say what "
        "bfloat16 would gain"
    )
    parser.add_argument("--measure", action="store_true", help=help)
    help = (
        "true effect for which the power of each test is estimated, 0 for none; default: "
        "smallest_effect"
    )
    parser.add_argument("--effect", type=parse_not_negative, metavar="POINTS", help=help)
    help = "standard deviation over seeds of a paired difference, for --effect"
    parser.add_argument("--sd", type=parse_positive, metavar="POINTS", help=help)
    help = "standard error of the difference due to the test images alone; with --sd"
    parser.add_argument("--images-se", type=parse_positive, metavar="POINTS", help=help)
    help = "name of a study from whose records both are estimated"
    parser.add_argument("--pilot", metavar="STUDY", help=help)
    add_share(parser)
    add_results(parser)


def run(options) -> None:
    """Print the runs of a study, their estimated cost and what is done."""
    # Thousands of runs are all needed to the end: to look for garbage among them takes a fifth of
    # the time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        _print_plan(options)
    finally:
        if was_enabled:
            gc.enable()


def _print_plan(options) -> None:
    """Load, price and print the plan of a study."""
    from kdpipe.analysis.search import forecast, rounds
    from kdpipe.config import load
    from kdpipe.jobs import parent_watchdog
    from kdpipe.plan import estimate, half_precision, render, resources, share, teacher_outputs
    from kdpipe.runs.integrity import data_drift
    from kdpipe.workflow import machine_benchmark, run_state

    store = open_store(options)
    plan, search_state = rounds.advance_search(load.load_study(options.study), store)
    raise_study_errors(options.study, data_drift.find_changed_images(plan.study, options.study))
    plan = select_share(plan, options)
    device = resolve_device(plan.study)
    gain = ""
    if options.measure:
        has_bfloat16 = half_precision.has_bfloat16(device)
        variants = half_precision.build_variants(plan.study) if has_bfloat16 else {}
        with parent_watchdog.tie_children():
            measured = variants.values() if variants else None
            machine_benchmark.measure_missing(plan, plan.runs, device, measured)
        slots = count_gpu_slots(plan.study)
        gain = half_precision.describe_gain(plan.study, variants, device, slots)
    states, cost_model, total, plain_total = run_state.price_plan(
        plan, device, store, count_gpu_slots(plan.study)
    )
    if options.json:
        print(json.dumps(render.render_plan_json(plan, states)))
        return
    lines = [
        *share.describe_share(plan, store),
        render.render_plan_text(plan, states, teacher_outputs.describe_prices(cost_model)),
        estimate.describe_estimate(cost_model, total, states, plain_total),
        gain,
    ]
    lines += [
        *(forecast.format_forecast(search_state) if search_state else []),
        *(_describe_search_worth(options, search_state, store) if search_state else []),
        *data_drift.find_missing_images(plan, store),
        *data_drift.find_missing_weights(
            plan, [run for run in plan.runs if states[run] == "to do"]
        ),
    ]
    lines += _format_power(options, plan, cost_model, store)
    print("\n".join([*filter(None, lines), *load.collect_notes(plan.study)]))
    disk_bytes = estimate.estimate_peak_disk(plan, total, states)
    if warning := resources.warn_disk_space(disk_bytes, options.results):
        print(warning, file=sys.stderr)


def _describe_search_worth(options, search_state, store) -> list[str]:
    """Return what a search can find out that is not over."""
    from kdpipe.analysis.search import worth

    if search_state.current_round is None:
        return []
    plan = search_state.plan
    if options.pilot is None:
        n_validation = plan.card.count_validation(plan.study.data.validation)
        spread = worth.assume_spread(n_validation, options.sd)
    else:
        spread = worth.estimate_pilot_spread(
            options.pilot, Path(options.study).parent, store, plan.study
        )
        if spread is None:
            raise KdpipeError(
                f"--pilot {options.pilot}: {store.root} has no two students of it with two seeds: "
                "run the pilot first, or give --sd"
            )
    return worth.describe_worth(search_state, spread)


def _format_power(options, plan, cost_model, store) -> list[str]:
    """Return lines on the power of a study, if requested, or on why it has no intervals."""
    study = plan.study
    for unit, levels in (("seeds", study.seeds), ("splits", study.splits)):
        if len(levels) < 3 and (unit == "seeds" or len(levels) > 1):
            return [
                f"this study can reach no verdict: fewer than 3 {unit} give no confidence interval"
            ]
    power_options = (options.effect, options.sd, options.images_se, options.pilot)
    if all(option is None for option in power_options):
        return []
    if (options.sd is None) == (options.pilot is None):
        raise KdpipeError(
            "plan: the power depends on the standard deviation of differences: give either --sd "
            "POINTS or --pilot STUDY"
        )
    if options.pilot is not None and options.images_se is not None:
        raise KdpipeError(
            "plan: --images-se goes with --sd; --pilot STUDY takes it from the study's records"
        )
    from kdpipe.analysis.preregistration import power_report
    from kdpipe.plan import estimate, resources
    from kdpipe.stats.power import Spread

    effect = study.smallest_effect if options.effect is None else options.effect
    if options.pilot is None:
        spread: Any = Spread(options.sd**2, images=(options.images_se or 0.0) ** 2)
        source = f"sd {options.sd:g} over seeds"
        source += f", {options.images_se:g} of the images" if options.images_se else ""
    else:
        spread = power_report.estimate_pilot_spreads(
            options.pilot, Path(options.study).parent, store, study
        )
        source = f"sd over seeds of the records of {options.pilot}"
    source += power_report.describe_missing_noise(study, spread)
    seconds = cost_model.estimate_total(plan.nodes_by_name, estimate.count_cores()).seconds
    operations = sum(run.multiply_adds for run in plan.runs.values())

    def cost(seeds: int) -> str:
        """Return the cost of a number of seeds."""
        share = seeds / len(study.due_seeds)
        if seconds is None:
            return f"{share * operations:.2e} mult-adds"
        return resources.format_duration(share * seconds)

    return power_report.format_power(
        study, effect, power_report.estimate_claim_power(study, effect, spread), cost, source
    )


COMMAND = Command(
    order=20,
    help="print the runs of a study, their estimated cost and what is done",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch", "pandas"),
)

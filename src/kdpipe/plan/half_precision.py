"""What a study would gain from bfloat16 on this machine: in training, in its teachers, in both.

Other numbers mean other runs, so nothing is switched on: `kdpipe plan --measure` says what the keys
would save.
"""

from collections.abc import Mapping

from kdpipe.config.schema import Study
from kdpipe.devices import host
from kdpipe.losses import method as methods
from kdpipe.plan import estimate, planner
from kdpipe.plan.nodes import Plan
from kdpipe.plan.resources import format_duration

RECIPE_KEY, TEACHER_KEY = "recipe.autocast: bfloat16", "teacher_precision: bfloat16"
WORTHWHILE_SHARE = 0.95  # of the time: a smaller gain is none


def build_variants(study: Study) -> dict[str, Plan]:
    """Build the plans of a study with bfloat16, by the keys that it would get.

    Parameters
    ----------
    study : Study
        The study.

    Returns
    -------
    dict of str to Plan
        With either key that the study does not have yet, and with both; a method to whose terms
        rounding matters keeps its teacher in float32.
    """
    variants: dict[str, Study] = {}
    if study.recipe.autocast is None:
        recipe = study.recipe.model_copy(update={"autocast": "bfloat16"})
        variants[RECIPE_KEY] = study.model_copy(update={"recipe": recipe})
    if study.teacher_precision == "float32":
        kept = {
            name: method.model_copy(update={"teacher_precision": "float32"})
            for name, method in study.methods.items()
            if methods.find_fp32_terms_of_config(method)
        }
        update = {"teacher_precision": "bfloat16", "methods": study.methods | kept}
        if len(kept) < len(study.methods):
            for keys, variant in [("", study), *variants.items()]:
                names = " and ".join(filter(None, [keys, TEACHER_KEY]))
                variants[names] = variant.model_copy(update=update)
    return {keys: planner.build_plan(variant) for keys, variant in variants.items()}


def has_bfloat16(device: str) -> bool:
    """Return whether a device computes in bfloat16; of a GPU it is measured."""
    return device == "cuda" or host.has_bfloat16()


def describe_gain(
    study: Study, variants: Mapping[str, Plan], device: str, gpu_jobs: int | None = None
) -> str:
    """Describe in one line what bfloat16 would save of a whole study on this machine.

    Parameters
    ----------
    study : Study
        The study.
    variants : mapping of str to Plan
        See `build_variants`.
    device : {'cpu', 'cuda'}
        Device that it runs on.
    gpu_jobs : int, optional
        Jobs that the GPUs hold at a time.

    Returns
    -------
    str
        The line; empty where the study computes in bfloat16 already.
    """
    if not has_bfloat16(device):
        return (
            "bfloat16: this processor has no bfloat16 arithmetic, so recipe.autocast and "
            "teacher_precision would make this study slower here"
        )
    if not variants:
        return ""
    base = _estimate_seconds(planner.build_plan(study), device, gpu_jobs)
    seconds = {
        keys: _estimate_seconds(variant, device, gpu_jobs) for keys, variant in variants.items()
    }
    best = min(seconds, key=lambda keys: seconds[keys])
    others = "; ".join(
        f"{format_duration(value)} with {keys}" for keys, value in seconds.items() if keys != best
    )
    others = f"; {others}" if others else ""
    scope = "all cells of this study" if study.search else "this study"
    if seconds[best] > WORTHWHILE_SHARE * base:
        return (
            f"bfloat16: no gain here: {scope} in {format_duration(seconds[best])} with {best}, "
            f"{format_duration(base)} without{others}"
        )
    return (
        f"bfloat16: {scope} in {format_duration(seconds[best])} instead of "
        f"{format_duration(base)} here, with {best}{others}; the numbers differ, so it is "
        "another study"
    )


def _estimate_seconds(plan: Plan, device: str, gpu_jobs: int | None) -> float:
    """Estimate the seconds of a whole plan by what was measured, as if nothing was done."""
    cost_model = estimate.build_cost_model(plan, device, {}, gpu_jobs)
    nodes = plan.nodes_by_name
    return cost_model.estimate_total(nodes, estimate.count_cores()).schedule.seconds

"""Live teachers and logit caches: which students could have either, and what a study then takes.

`teacher_outputs: auto` chooses by the epochs and the views of a student alone. A choice by all who
share a cache would rename runs whenever a seed or a student is added; here its price is computed.
"""

from dataclasses import dataclass

from kdpipe.data.data_spec import count_views
from kdpipe.losses import method as methods
from kdpipe.plan.estimate import CostModel, count_threads
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs import recipe

WORTHWHILE_SHARE = 0.9  # of the price: a smaller saving is not mentioned


@dataclass(frozen=True)
class Students:
    """The students of a plan by whether their teacher's outputs could be cached.

    Attributes
    ----------
    logits : list of Run
        Those that learn from logits alone, for views that can be cached.
    features : list of Run
        Those whose loss terms need more than logits.
    mixed : list of Run
        Those trained on images that are mixed batch by batch.
    """

    logits: list[Run]
    features: list[Run]
    mixed: list[Run]


@dataclass(frozen=True)
class CacheImages:
    """A logit cache of a plan, made or not: the images of one kind in a teacher checkpoint's eyes.

    Attributes
    ----------
    run : str
        Digest of the teacher.
    epoch : int
        Its checkpoint.
    precision : str
        `float16` or `float32`.
    teacher_precision : str
        In which the teacher answers.
    kind : str
        `labelled` or `unlabelled`; of mixed views with the way in which they are mixed.
    images : int
        How many they are.
    """

    run: str
    epoch: int
    precision: str
    teacher_precision: str
    kind: str
    images: int


@dataclass(frozen=True)
class OutputPrices:
    """Core-seconds of a whole study, from its first run to its last.

    Attributes
    ----------
    planned : float
        As the study is written.
    live : float
        With live teachers only.
    table : float or None
        With a logit cache for each teacher checkpoint of a student; None if a student cannot have
        one, so that the key would be refused.
    """

    planned: float
    live: float
    table: float | None

    @property
    def cheapest(self) -> tuple[str, float]:
        """Return the value of `teacher_outputs` that takes least, and its core-seconds."""
        if self.table is not None and self.table < self.live:
            return "table", self.table
        return "live", self.live


def group_students(plan: Plan) -> Students:
    """Return the students of a plan by whether their teacher's outputs could be cached."""
    students = Students([], [], [])
    for run in plan.runs.values():
        if run.spec.teacher is None or run.spec.method is None:
            continue
        if run.spec.teacher.outputs == "live" and methods.required_features(run.spec.method):
            students.features.append(run)
        elif recipe.enabled_mixes(run.spec.recipe) and "mixed" not in run.spec.data.views:
            students.mixed.append(run)
        else:
            students.logits.append(run)
    return students


def list_caches(students: list[Run]) -> set[CacheImages]:
    """Return the logit caches that students would share, made or not."""
    precisions: dict[int, str] = {}  # by the method, which thousands of students share
    caches: dict[tuple[object, ...], list[CacheImages]] = {}
    for run in students:
        method, teacher = run.spec.method or {}, run.spec.teacher
        if id(method) not in precisions:
            precisions[id(method)] = methods.choose_teacher_source(method, "table")
        precision, parts = precisions[id(method)], _count_images(run)
        if (key := (id(teacher), precision, *parts)) not in caches:
            teacher_precision = teacher.teacher_precision if teacher else ""
            caches[key] = [
                CacheImages(member.run, member.epoch, precision, teacher_precision, *part)
                for member in run.spec.members
                for part in parts
            ]
    return {cache for of_one in caches.values() for cache in of_one}


def _count_images(run: Run) -> list[tuple[str, int]]:
    """Count the images for which a teacher's outputs are needed: labelled, and unlabelled."""
    mixed = run.spec.data.views.get("mixed")
    counts = [(f"labelled, mixed {mixed}" if mixed else "labelled", run.spec.data.train_size)]
    if n_unlabelled := (run.spec.method or {}).get("unlabelled_images"):
        counts.append(("unlabelled", n_unlabelled))
    return counts


def price_outputs(cost_model: CostModel) -> OutputPrices | None:
    """Return what a study takes with live teachers and with logit caches; None without a choice.

    Parameters
    ----------
    cost_model : CostModel
        Cost model of its plan.

    Returns
    -------
    OutputPrices or None
        Of the study as planned, whatever of it is done.
    """
    plan = cost_model.plan
    students = group_students(plan)
    views = count_views(students.logits[0].spec.data) if students.logits else 0
    if not views:
        return None
    nodes = (*plan.nodes_by_name.values(), *plan.logit_caches.values())
    planned = sum(count_threads(node, plan) * cost_model.estimate_seconds(node) for node in nodes)
    rest = planned - sum(
        count_threads(node, plan) * cost_model.estimate_seconds(node)
        for node in (*students.logits, *plan.logit_caches.values())
    )
    live, cached = (
        sum(
            count_threads(run, plan) * cost_model.estimate_student(run, outputs)
            for run in students.logits
        )
        for outputs in ("live", "table")
    )
    can_cache = not students.features and not students.mixed
    if not can_cache or any(
        method.student_modules is not None for method in plan.study.methods.values()
    ):
        return OutputPrices(planned, rest + live, None)
    teachers = {run.digest: run for run in (plan.whole or plan).runs.values()}
    caches = sum(
        count_threads(teachers[cache.run], plan)  # its cache has as many
        * cost_model.estimate_cache(
            teachers[cache.run], cache.images * views, cache.teacher_precision
        )
        for cache in list_caches(students.logits)
    )
    return OutputPrices(planned, rest + live, rest + cached + caches)


def describe_prices(cost_model: CostModel) -> str | None:
    """Describe in a line what a study takes in both ways, and the key to write for the cheaper.

    Parameters
    ----------
    cost_model : CostModel
        Cost model of its plan.

    Returns
    -------
    str or None
        None if there is no choice, or nothing is known of the speed of this machine.
    """
    if not cost_model.is_known or (prices := price_outputs(cost_model)) is None:
        return None
    live = f"{_format_hours(prices.live)} with live teachers"
    if prices.table is None:
        text = f"teacher outputs: this whole study in {live}; tables are not for all its students"
    else:
        text = (
            f"teacher outputs: this whole study in {_format_hours(prices.table)} with tables that "
            f"all students of a checkpoint share, in {live}"
        )
    way, seconds = prices.cheapest
    if seconds < WORTHWHILE_SHARE * prices.planned:
        text += (
            f"; write teacher_outputs: {way} for {_format_hours(seconds)} instead of "
            f"{_format_hours(prices.planned)} here (its students are then other runs)"
        )
    return text


def _format_hours(seconds: float) -> str:
    """Format core-seconds as core-hours."""
    return f"{seconds / 3600:.2g} core-hours"

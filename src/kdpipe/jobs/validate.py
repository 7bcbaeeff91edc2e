"""Validation of a spec before a job uses it: its revisions, values and names.

A spec comes from the plan, but also from a queue that is older than the code, or from a user. Names
of folders are derived from it, and files are found by it: nothing in it may point outside the
results folder.

A spec has revisions: of the images, the network, each loss term and so on. A revision defines the
meaning of a part of a spec (`hashing.REVISIONS`). It is under `revision` in that part, or under
`<behaviour>_revision` next to its subject. `find_revisions` walks the JSON form by this rule, so
that additions to a spec cannot be forgotten here.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kdpipe import hashing
from kdpipe.data import cards, views
from kdpipe.errors import KdpipeError
from kdpipe.losses import method as methods
from kdpipe.losses.custom import card as term_card
from kdpipe.models import registry
from kdpipe.models.custom import card as network_card
from kdpipe.models.pretrained import input_transform, weights_info
from kdpipe.runs import recipe, records
from kdpipe.runs.decision_metric import DECISION_METRICS
from kdpipe.runs.recipe import Recipe, load_optimizers, load_schedules
from kdpipe.runs.spec import (
    SPEC_TYPES,
    DataSpec,
    EnsembleSpec,
    ExportEvalSpec,
    LogitCacheSpec,
    Member,
    ModelSpec,
    ProbeSpec,
    RunSpec,
    Spec,
)

_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")
# Exceptions that values of a wrong type can raise in a check.
_MALFORMED = (KeyError, TypeError, AttributeError, ValidationError)


def read_spec(kind: str, content: Mapping[str, Any]) -> Any:
    """Parse the JSON of `--spec` as a spec, whose values the job checks.

    Parameters
    ----------
    kind : str
        `run`, `ensemble`, `table`, `probe` or `gauge`.
    content : mapping
        The JSON object; neutral values may be left out.

    Returns
    -------
    RunSpec, EnsembleSpec, LogitCacheSpec, ProbeSpec or ExportEvalSpec

    Raises
    ------
    KdpipeError
        If keys are missing or unknown.
    """
    try:
        spec = SPEC_TYPES[kind].from_dict(content)
        if spec.kind != kind:
            raise TypeError(f"its kind is {spec.kind!r}")
    except _MALFORMED as error:
        raise _malformed(kind, error) from None
    return spec


def validate_spec(spec: Spec) -> None:
    """Raise KdpipeError for a spec that this version cannot run."""
    rules = _SPEC_RULES[spec.kind]
    try:
        if isinstance(spec, RunSpec):
            _check_recipe(spec)
        name = spec.name
        rules.check(name, spec)
        _check_names(name, spec.members)
        if not isinstance(spec, EnsembleSpec):
            _check_data(name, spec.data)
        check_revisions(name, spec.to_dict(), rules.revisions)
    except _MALFORMED as error:
        raise _malformed(spec.kind, error) from None


def validate_checkpoints(keep_epochs: list[int], spec: RunSpec) -> None:
    """Raise KdpipeError for checkpoints beyond the epochs of the training."""
    epochs = spec.recipe.epochs
    if outside := [epoch for epoch in keep_epochs if not 0 <= epoch <= epochs]:
        raise KdpipeError(f"--keep: {outside} not within 0 and {epochs}, the epochs of the run")


def _malformed(kind: str, error: Exception) -> KdpipeError:
    article = "an" if kind == "ensemble" else "a"
    return KdpipeError(f"--spec is not the spec of {article} {kind} ({error!r})")


# --- what each kind of spec must be


def _check_recipe(spec: RunSpec) -> None:
    """Raise pydantic's ValidationError for a recipe without a JSON form."""
    # Pretrained weights are trained for 0 epochs.
    overrides = {"epochs": 1} if spec.pretrained else {}
    Recipe.model_validate({**vars(spec.recipe), **overrides})


def _check_run(name: str, spec: RunSpec) -> None:
    _check_network(spec.network)
    mixes = _check_mixtures(name, spec.data)
    if mixes and mixes != recipe.enabled_mixes(spec.recipe):
        raise KdpipeError(f"{name}: --spec mixes its views in another way than its recipe says")
    n_unlabelled = (spec.method or {}).get("unlabelled", spec.recipe.shards)
    if spec.recipe.shards > 1 and n_unlabelled < spec.recipe.shards:
        raise KdpipeError(f"{name}: --spec has fewer unlabelled images in a batch than shards")
    if spec.recipe.shards > 1 and "sharded" not in spec.revision:
        raise KeyError("sharded")
    if spec.metric not in DECISION_METRICS:
        raise KdpipeError(
            f"{name} chooses its best epoch by the metric {spec.metric!r}: this version has "
            f"{', '.join(DECISION_METRICS)}"
        )
    for member in spec.members:
        # A parent is described by its own record; here its name must be that of a network.
        if not network_card.NAME_PATTERN.fullmatch(str(member.network)):
            registry.parse_name(str(member.network))
    if spec.teacher:
        if spec.method is None:
            raise TypeError("a teacher, but no method")
        _check_method(spec.method)
        if spec.method.get("student_modules") and spec.teacher.outputs != "live":
            raise KdpipeError(f"{name}: a logit cache has no outputs of its teacher's modules")
        is_mixed = recipe.enabled_mixes(spec.recipe) and "mixed" not in spec.data.views
        if is_mixed and spec.teacher.outputs != "live":
            raise KdpipeError(f"{name}: a logit cache has no outputs for mixed images")
        _check_teacher_precision(name, spec.teacher.teacher_precision, spec.teacher.revision)
        terms = methods.find_fp32_terms(spec.method)
        if spec.teacher.teacher_precision == "bfloat16" and terms:
            raise KdpipeError(f"{name}: {terms[0]} needs a teacher that computes in float32")


def _check_mixtures(name: str, data: DataSpec) -> dict[str, float]:
    """Return the alphas with which drawn views are mixed; raise for views that cannot be."""
    mixed = data.views.get("mixed", {})
    mixes = {key: mixed[key] for key in recipe.MIX_KEYS if key in mixed}
    Recipe.model_validate({"epochs": 1, "lr": 1.0, **mixes})
    if "mixed" in data.views and not (mixes and data.views.get("drawn")):
        raise KdpipeError(f"{name}: --spec mixes views that are not drawn")
    return mixes


def _check_ensemble(name: str, spec: EnsembleSpec) -> None:
    if not spec.members:
        raise KdpipeError("--spec describes an ensemble without members")


def _check_logit_cache(name: str, spec: LogitCacheSpec) -> None:
    _check_network(spec.network)
    _check_mixtures(name, spec.data)
    _check_threads(name, spec.threads)
    if spec.precision not in ("float16", "float32"):
        raise KdpipeError(f"{name}: precision must be float16 or float32")
    _check_teacher_precision(name, spec.teacher_precision, spec.to_dict())


def _check_teacher_precision(name: str, precision: str, revisions: Mapping[str, Any]) -> None:
    """Raise for an unknown precision of a teacher, and for bfloat16 without its revision."""
    if precision not in ("float32", "bfloat16"):
        raise KdpipeError(f"{name}: teacher_precision must be float32 or bfloat16")
    if precision == "bfloat16" and not {"bfloat16", "bfloat16_revision"} & revisions.keys():
        raise KeyError("bfloat16")


def _check_probe(name: str, spec: ProbeSpec) -> None:
    _check_network(spec.network)
    _check_threads(name, spec.threads)
    if spec.data.validation < 1 or spec.data.train_size < 1:
        raise KdpipeError(f"{name}: a probe needs training and validation images")


def _check_export_eval(name: str, spec: ExportEvalSpec) -> None:
    _check_network(spec.network)
    _check_threads(name, spec.threads)
    if spec.reading not in records.EVAL_POINTS:
        raise KdpipeError(f"{name}: reading must be one of {', '.join(records.EVAL_POINTS)}")


@dataclass(frozen=True)
class _SpecRules:
    """The requirements of a spec of one kind."""

    check: Callable[[str, Any], None]  # checks of this kind only
    revisions: tuple[str, ...]  # behaviours whose revision is required


_SPEC_RULES = {
    "run": _SpecRules(_check_run, ("training", "evaluation", "views", "split")),
    "ensemble": _SpecRules(_check_ensemble, ("ensemble", "evaluation")),
    "table": _SpecRules(_check_logit_cache, ("table", "views", "split")),
    "probe": _SpecRules(_check_probe, ("probe", "views", "split")),
    "gauge": _SpecRules(_check_export_eval, ("gauge", "evaluation", "split")),
}


def _check_method(method: Mapping[str, Any]) -> None:
    """Raise unless each active loss term has a revision, and a custom one is well formed."""
    methods.check_revisions(method)
    if (
        custom_term := method.get(methods.CUSTOM_TERM)
    ) is not None and not term_card.is_valid_term_spec(custom_term):
        raise KdpipeError(f"--spec has no valid custom term: {custom_term!r}")


def _check_network(network: ModelSpec) -> None:
    content = network.to_dict()
    if network.input is not None and not input_transform.is_valid_input(network):
        raise KdpipeError(f"--spec has no valid input of a network: {content['input']!r}")
    if network.start is not None and not weights_info.is_valid_init(network):
        raise KdpipeError(f"--spec has no valid initial weights of a network: {content!r}")
    network = input_transform.inner_spec(network)
    if not network.build:
        registry.parse_name(network.name)
    elif not network_card.is_valid_spec(network):
        raise KdpipeError(f"--spec has no valid custom network: {content!r}")


def _check_threads(name: str, threads: int) -> None:
    if type(threads) is not int or not 1 <= threads <= 256:
        raise KdpipeError(f"{name}: threads must be a number from 1 to 256")


def _check_names(name: str, members: Sequence[Member]) -> None:
    if not _NAME_PATTERN.fullmatch(name):
        raise KdpipeError(f"--spec gives the name {name[:80]!r}, which is not a plain name")
    for member in members:
        if not _DIGEST_PATTERN.fullmatch(member.run) or type(member.epoch) is not int:
            raise KdpipeError("--spec has a member that is not (digest, epoch)")


def _check_data(name: str, data: DataSpec) -> None:
    card_digest = (
        cards.load_known_card(data.name).sha256 if data.name in cards.list_datasets() else data.card
    )
    if card_digest != data.card:
        raise KdpipeError(f"{name}: this version has no card of its data set")
    if not (
        _NAME_PATTERN.fullmatch(str(data.name)) and _DIGEST_PATTERN.fullmatch(str(card_digest))
    ):
        raise KdpipeError(f"{name}: --spec has no data set with name and digest")


# --- revisions


# The behaviour that the `revision` of a part belongs to, by the key of the part; "" is the whole. A
# mapping names its behaviours itself. Other parts (recipe, members) have none.
_REVISION_OWNERS: dict[str, Callable[[dict], str]] = {
    "": lambda content: content["kind"],
    "data": lambda data: f"data set {data['name']}",
    "views": lambda views: "views",
    "network": lambda network: registry.get_family_name(
        input_transform.inner_spec(ModelSpec.from_dict(network)).name
    ),
    "teacher": lambda teacher: "teacher",
    "method": lambda method: method["loss"],
}


def find_revisions(content: dict, part: str = "") -> Iterator[tuple[str, object]]:
    """Yield each (behaviour, revision) in the JSON form of a spec.

    `part` is the key of `content`, "" for a whole spec.

    Raises
    ------
    KeyError
        If a part lacks its required revision.
    """
    # A custom network is not versioned by kdpipe.
    if part in _REVISION_OWNERS and not (part == "network" and "build" in content):
        revision = content["revision"]
        if isinstance(revision, dict):
            yield from revision.items()
        else:
            yield _REVISION_OWNERS[part](content), revision
    for key, value in content.items():
        if isinstance(value, dict) and key != "revision":
            yield from find_revisions(value, key)
        elif key.endswith("_revision") and value is not None:
            yield key.removesuffix("_revision"), value
        elif key == "evaluation":  # of an ensemble, which has only its name
            yield key, value


def check_revisions(name: str, content: dict, required: Collection[str]) -> None:
    """Raise KdpipeError if a revision in a spec differs from that of this version.

    Parameters
    ----------
    name : str
        The name of the spec, for the message.
    content : dict
        Its JSON form.
    required : collection of str
        The behaviours whose revision is required.

    Raises
    ------
    KeyError
        If a behaviour does not exist, or a required one is missing.
    """
    stated = list(find_revisions(content))
    if missing := set(required) - {behaviour for behaviour, _ in stated}:
        raise KeyError(*sorted(missing))
    for behaviour, stated_revision in stated:
        if stated_revision != (current := _current_revision(behaviour)):
            raise KdpipeError(
                f"{name}: its spec has revision {stated_revision} of {behaviour}, this version "
                f"computes revision {current}: plan the study again"
            )


def _current_revision(behaviour: str) -> int:
    """Return the revision that this version computes."""
    if behaviour.startswith("data set "):
        return cards.get_data_revision(behaviour.removeprefix("data set "))
    if behaviour in registry.load_families():
        return registry.load_families()[behaviour].revision
    if behaviour in views.load_augmentations():
        return views.load_augmentations()[behaviour].revision or 0
    if behaviour in methods.load_terms():
        return methods.load_terms()[behaviour].revision
    kind, _, name = behaviour.partition(" ")
    if kind in ("optimizer", "schedule"):
        infos = load_optimizers() if kind == "optimizer" else load_schedules()
        return infos[name].revision or 0
    return hashing.REVISIONS[behaviour]

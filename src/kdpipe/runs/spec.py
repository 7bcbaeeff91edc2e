"""The specs of jobs: what each kind of job makes, as one frozen, typed object.

A spec states everything that decides the bytes of what its job makes, and nothing else. Its
canonical JSON (`hashing.canonical_json`) goes from the plan to the job, its digest is the identity
of the result, and its name is the folder of the result. A key that is added, renamed or written in
another way renames the runs that have it.

`RunSpec` is the spec of a training; the other kinds are `EnsembleSpec`, `LogitCacheSpec`,
`ProbeSpec` and `ExportEvalSpec`. `method` and `views` of a spec remain mappings: their keys are
those of the loss terms and augmentations that are discovered. What a spec states of the images
comes from `data.data_spec`, of the network from `models.study_models`, of the method from
`losses.method`.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from json.encoder import encode_basestring_ascii
from typing import Any, ClassVar, Literal, Self

from kdpipe import hashing
from kdpipe.json_types import is_mapping, is_tuple
from kdpipe.runs.recipe import Recipe

# A trained network as a spec names it: the digest of its run, and the epoch that it is taken after.
MemberKey = tuple[str, int]

UNLABELLED_KEYS = ("unlabelled_from", "unlabelled_images", "unlabelled_revision", "own_revision")

# Metadata of a field that is left out of the JSON form at its default.
_OMITTED = {"omitted": True}
# By field, how it is built from its JSON form.
_Readers = Mapping[str, Callable[[Any], Any]]


@dataclass(frozen=True, kw_only=True)
class SpecPart:
    """A frozen part of a spec that is read from JSON and written to it."""

    # The fields that are not plain JSON; None stays None.
    _READERS: ClassVar[_Readers] = {}

    @classmethod
    def from_dict(cls, content: object) -> Self:
        """Build the part from its JSON form, with the values exactly as they are written.

        Keys that the canonical form leaves out take their neutral value. The values are not
        checked, `jobs.validate.validate_spec` does that.

        Raises
        ------
        TypeError
            If a key is missing or unknown.
        """
        if not is_mapping(content):
            raise TypeError(f"{content!r} is no object")
        values = dict(content)
        for key, read in cls._READERS.items():
            if values.get(key) is not None:
                values[key] = read(values[key])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form with neutral values written out."""
        return {name: _to_plain(value) for name, value in self._written_values()}

    @property
    def canonical(self) -> dict[str, Any]:
        """Return the JSON form without neutral values, which is hashed."""
        return json.loads(self.canonical_json)

    @cached_property
    def canonical_json(self) -> str:
        """Return the text that is hashed: JSON without neutral values, see `hashing`."""
        return _join_members(self._members_as_json)

    def replace(self, **values: Any) -> Self:
        """Return a copy with other values of some fields.

        The JSON of the other fields is taken over: thousands of runs of a plan share their images,
        network, recipe and method.
        """
        fields = _list_fields(type(self))
        if unknown := values.keys() - fields.keys():
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        copy = object.__new__(type(self))  # __init__ would set each field by itself
        attributes = {name: value for name, value in vars(self).items() if name in fields}
        shared = {key: text for key, text in self._members_as_json.items() if key not in values}
        vars(copy).update(attributes | values)
        vars(copy)["canonical_json"] = _join_members(shared | copy._write_members(values))
        return copy

    @cached_property
    def _members_as_json(self) -> dict[str, str]:
        """Return the members of the canonical JSON object, `"key":value`, by key."""
        return self._write_members(_list_fields(type(self)))

    def _write_members(self, names: Iterable[str]) -> dict[str, str]:
        """Return those of these fields that are not at a neutral value as members of an object."""
        neutral = _list_neutral(type(self))
        members: dict[str, str] = {}
        for name in names:
            value = getattr(self, name)
            if name not in neutral or value != neutral[name]:
                members[name] = f'"{name}":{_to_canonical_json(value)}'
        return members

    def _written_values(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields in their order, but those left out at their default."""
        omitted = _list_omitted(type(self))
        for name in _list_fields(type(self)):
            value = getattr(self, name)
            if name not in omitted or value != omitted[name]:
                yield name, value


@cache
def _list_fields(part: type[SpecPart]) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a kind of part by name."""
    return {spec_field.name: spec_field for spec_field in dataclasses.fields(part)}


def _join_members(members: Mapping[str, str]) -> str:
    """Return a JSON object of its members, in the order of their keys."""
    return f"{{{','.join([members[key] for key in sorted(members)])}}}"


@cache
def _list_omitted(part: type[SpecPart]) -> dict[str, Any]:
    """Return the defaults of the fields that are left out at their default, by name."""
    return {
        name: spec_field.default
        for name, spec_field in _list_fields(part).items()
        if spec_field.metadata.get("omitted")
    }


@cache
def _list_neutral(part: type[SpecPart]) -> dict[str, Any]:
    """Return the values at which the canonical form leaves a field out, by name."""
    return hashing.NEUTRAL_VALUES | _list_omitted(part)


def _to_canonical_json(value: Any) -> str:
    """Return the canonical JSON of a value."""
    # What most specs of a plan differ in comes first; a bool is no int here.
    if type(value) is int:
        return str(value)
    if type(value) is str:
        return encode_basestring_ascii(value)
    if isinstance(value, SpecPart):
        return value.canonical_json
    if is_tuple(value):
        return f"[{','.join(map(_to_canonical_json, value))}]"
    return hashing.dump_canonical(_to_plain(value))


def _to_plain(value: Any) -> Any:
    """Return the JSON form of a value with neutral values written out."""
    if isinstance(value, SpecPart):
        return value.to_dict()
    if isinstance(value, Recipe):
        return value.to_spec()
    if is_tuple(value):
        return [_to_plain(item) for item in value]
    return value


@dataclass(frozen=True, kw_only=True)
class DataSpec(SpecPart):
    """The images of a run, and the views in which it sees them.

    Attributes
    ----------
    name, card : str
        The data set, and the SHA-256 of its card.
    revision : int
        That of the data set's reader.
    train_size : int
        Training images; 0 for all that the validation split leaves.
    validation : int
        Validation images.
    label_noise : float
        The share of the training labels that is wrong.
    split_seed, split : int
        The seed of the draw of the splits, and which of its draws.
    draw : str
        `equal`: as many of each class, `share`: in the proportions of the data set.
    resize : int or None
        The side to which images are scaled.
    mean, std : list of float or None
        Of each channel; None: measured.
    stream_revision : int or None
        None for images that are held in one array.
    views : mapping
        The keys of the augmentations, see `data.views.Views.from_spec`.
    """

    name: str
    card: str
    revision: int
    train_size: int
    validation: int
    label_noise: float
    split_seed: int
    split: int = field(default=0, metadata=_OMITTED)
    draw: str = field(default="equal", metadata=_OMITTED)
    split_revision: int
    resize: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    stream_revision: int | None = None
    views: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AdapterSpec(SpecPart):
    """The images that a pretrained network takes, and how it comes by them.

    `size` is (height, width) of its input, `resize` the shorter side before the crop, and
    `picked` has for each class of the data which of the network's `classes` it is (None: the
    same). `mean` and `std` are None where the pixels stay normalized as the study's.
    """

    input_revision: int
    channels: int
    classes: int
    size: list[int]
    resize: int | None = None
    interpolation: str
    mean: list[float] | None = None
    std: list[float] | None = None
    picked: list[int] | None


@dataclass(frozen=True, kw_only=True)
class InitSpec(SpecPart):
    """The weights that a network begins from, and what of it learns how fast.

    `new`, `unused` and `freeze` are patterns of parameter names.
    """

    start_revision: int
    network: str
    weights: str | None
    sha256: str | None
    new: list[str]
    unused: list[str]
    freeze: list[str]
    backbone_lr: float

    @property
    def freezes_backbone(self) -> bool:
        """Return whether only the classifier, and what is `new`, is trained: a linear probe."""
        return "*" in self.freeze


@dataclass(frozen=True, kw_only=True)
class ModelSpec(SpecPart):
    """The network of a run: all that a job must know to build it.

    Attributes
    ----------
    name : str
        The name of its architecture; of a custom network the study's name.
    build : str
        `module.callable` of a custom network, which also has `state` (the digest of its
        parameters' names and shapes), `layout` (its memory format), `size` (height, width) and
        `answer` (the numbers by which changed code is noticed); of other networks they are empty.
    revision, classes, channels : int
        The revision of its code, its outputs, and the channels of its input.
    input : AdapterSpec or None
        How the images are adapted to a pretrained network.
    start : InitSpec or None
        The weights that it begins from; `name` is then the study's name.
    """

    _READERS: ClassVar[_Readers] = {"input": AdapterSpec.from_dict, "start": InitSpec.from_dict}

    name: str
    build: str = field(default="", metadata=_OMITTED)
    revision: int
    classes: int
    channels: int
    state: str = field(default="", metadata=_OMITTED)
    layout: str = field(default="", metadata=_OMITTED)
    size: Sequence[int] = field(default=(), metadata=_OMITTED)
    answer: Sequence[float] = field(default=(), metadata=_OMITTED)
    input: AdapterSpec | None = field(default=None, metadata=_OMITTED)
    start: InitSpec | None = field(default=None, metadata=_OMITTED)


@dataclass(frozen=True, kw_only=True)
class Member(SpecPart):
    """A trained network as others name it: its run by digest, and the epoch it is taken after.

    The teacher of a run also states the `network` of each member.
    """

    run: str
    network: str | None = field(default=None, metadata=_OMITTED)
    epoch: int


def _read_members(members: Iterable[Mapping[str, Any]]) -> tuple[Member, ...]:
    return tuple(Member.from_dict(member) for member in members)


@dataclass(frozen=True, kw_only=True)
class TeacherSpec(SpecPart):
    """The teacher of a run.

    Attributes
    ----------
    members : tuple of Member
        The networks whose probabilities are averaged.
    average_at : str
        `one` or `temperature`: where they are averaged.
    outputs : str
        `live`, or the precision of the logit caches: `float16`, `float32`.
    teacher_precision : str
        `float32`, or `bfloat16`: how its members compute their outputs.
    revision : mapping
        Revisions of what its outputs rest on besides its own run.
    """

    _READERS: ClassVar[_Readers] = {"members": _read_members}

    members: tuple[Member, ...]
    average_at: str
    outputs: str
    teacher_precision: str = field(default="float32", metadata=_OMITTED)
    revision: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class PretrainedSpec(SpecPart):
    """Weights that are loaded, not trained: torchvision's by name, or a file by its SHA-256."""

    weights: str | None
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class RunSpec(SpecPart):
    """A network to train: on labels, or on a teacher by a method.

    Attributes
    ----------
    seed, stage, member : int
        They choose the random streams, see `hashing.derive_seed`.
    pretrained : PretrainedSpec or None
        Weights that are loaded; such a run is trained for no epoch.
    teacher : TeacherSpec or None
        None for a run on labels alone, which has no method either.
    method : mapping or None
        As `losses.method.build_method_spec` makes it.
    revision : mapping
        Those of `training` and `evaluation`.
    metric : str
        The metric on validation by which the best epoch is chosen, see `runs.decision_metric`.
    """

    kind: ClassVar[str] = "run"
    _READERS: ClassVar[_Readers] = {
        "data": DataSpec.from_dict,
        "network": ModelSpec.from_dict,
        "recipe": Recipe.from_spec,
        "pretrained": PretrainedSpec.from_dict,
        "teacher": TeacherSpec.from_dict,
    }

    data: DataSpec
    network: ModelSpec
    recipe: Recipe
    seed: int
    stage: int
    member: int
    pretrained: PretrainedSpec | None = None
    teacher: TeacherSpec | None
    method: Mapping[str, Any] | None
    revision: Mapping[str, int]
    metric: str = field(default="top1", metadata=_OMITTED)

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical form: the identity of the run."""
        return hashing.hash_spec(self)

    @property
    def name(self) -> str:
        """Return `<network>-<what it learns from>-s<seed>-<12 hex>`: for people, never parsed.

        A run of another split than the first has `-split<split>` behind its seed.
        """
        split = f"-split{self.data.split}" if self.data.split else ""
        source = self._describe_source()
        return f"{self.network.name}-{source}-s{self.seed}{split}-{self.digest[:12]}"

    @property
    def members(self) -> tuple[Member, ...]:
        """Return the networks of its teacher; none for a run on labels."""
        return self.teacher.members if self.teacher else ()

    @property
    def unlabelled_images_seen(self) -> int:
        """Return how many unlabelled images are shown over all epochs, repetitions counted."""
        method = self.method or {}
        if "unlabelled" not in method:
            return 0
        steps = -(-self.data.train_size // self.recipe.batch_size)
        return steps * method["unlabelled"] * method["kd_epochs"]

    def _describe_source(self) -> str:
        """Return what the run learns from, as its name has it."""
        if self.pretrained:
            return "pretrained"
        if self.teacher is None:
            member = f"-m{self.member}" if self.member else ""
            return f"labels-{self.recipe.epochs}e{member}"
        if len(self.members) == 1:
            return f"from-{self.members[0].network}-e{self.members[0].epoch}"
        return f"from-{len(self.members)}-networks"


@dataclass(frozen=True, kw_only=True)
class EnsembleSpec(SpecPart):
    """An ensemble to score: the members whose probabilities are averaged."""

    _READERS: ClassVar[_Readers] = {"members": _read_members}

    kind: Literal["ensemble"]
    revision: int
    evaluation: int
    members: tuple[Member, ...]
    seed: int

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical form: the identity of the ensemble."""
        return hashing.hash_spec(self)

    @property
    def name(self) -> str:
        """Return `ensemble-of-<members>-s<seed>-<12 hex>`."""
        return f"ensemble-of-{len(self.members)}-s{self.seed}-{self.digest[:12]}"


@dataclass(frozen=True, kw_only=True)
class _CheckpointSpec(SpecPart):
    """What is made of one network after one epoch; base of the kinds that follow.

    Attributes
    ----------
    run, epoch : str, int
        The digest of the run, and the epoch after which its network is taken.
    threads : int
        CPU threads of the job.
    """

    _READERS: ClassVar[_Readers] = {"data": DataSpec.from_dict, "network": ModelSpec.from_dict}

    kind: str
    revision: int
    data: DataSpec
    network: ModelSpec
    run: str
    epoch: int
    threads: int

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical form: the identity of the result."""
        return hashing.hash_spec(self)

    @property
    def members(self) -> tuple[Member, ...]:
        """Return the one trained network that it rests on."""
        return (Member(run=self.run, epoch=self.epoch),)


@dataclass(frozen=True, kw_only=True)
class LogitCacheSpec(_CheckpointSpec):
    """The logits of one teacher checkpoint for every image and view.

    The images are those of training, or where `unlabelled_from` is stated unlabelled ones:
    `rest` of the data set, or those with a card of this SHA-256. `precision` is that of the stored
    logits, `teacher_precision` that of the network which computes them.
    """

    precision: str
    teacher_precision: str = field(default="float32", metadata=_OMITTED)
    bfloat16_revision: int | None = field(default=None, metadata=_OMITTED)
    unlabelled_from: str | None = field(default=None, metadata=_OMITTED)
    unlabelled_images: int | None = field(default=None, metadata=_OMITTED)
    unlabelled_revision: int | None = field(default=None, metadata=_OMITTED)
    own_revision: int | None = field(default=None, metadata=_OMITTED)

    @property
    def name(self) -> str:
        """Return `<network>-e<epoch>-<12 hex>`."""
        return f"{self.network.name}-e{self.epoch}-{self.digest[:12]}"

    @property
    def unlabelled(self) -> dict[str, Any]:
        """Return what the method of its students states of unlabelled images; or nothing."""
        return {key: value for key in UNLABELLED_KEYS if (value := getattr(self, key)) is not None}

    @property
    def n_images(self) -> int:
        """Return how many images are cached."""
        return self.unlabelled_images or self.data.train_size


@dataclass(frozen=True, kw_only=True)
class ProbeSpec(_CheckpointSpec):
    """A linear probe on another data set, which `data` states."""

    seed: int

    @property
    def name(self) -> str:
        """Return `<network>-on-<data>-s<seed>-<12 hex>`."""
        return f"{self.network.name}-on-{self.data.name}-s{self.seed}-{self.digest[:12]}"


@dataclass(frozen=True, kw_only=True)
class ExportEvalSpec(_CheckpointSpec):
    """The evaluation of a network as an exported file.

    `reading` is the evaluation point: `best` is the run at its best epoch on validation, `last`
    the run after `epoch`.
    """

    evaluation: int
    reading: str
    seed: int

    @property
    def name(self) -> str:
        """Return `<network>-as-file-e<epoch>-s<seed>-<12 hex>`, with `best` for that reading."""
        point = "best" if self.reading == "best" else f"e{self.epoch}"
        return f"{self.network.name}-as-file-{point}-s{self.seed}-{self.digest[:12]}"


Spec = RunSpec | EnsembleSpec | LogitCacheSpec | ProbeSpec | ExportEvalSpec

RecordedSpec = RunSpec | EnsembleSpec | ProbeSpec | ExportEvalSpec  # a logit cache has no record

# By the kind of the result, as records have it.
SPEC_TYPES: dict[str, type[Spec]] = {
    "run": RunSpec,
    "ensemble": EnsembleSpec,
    "table": LogitCacheSpec,
    "probe": ProbeSpec,
    "gauge": ExportEvalSpec,
}


def build_run_spec(
    data: DataSpec,
    network: ModelSpec,
    recipe: Recipe,
    *,
    seed: int,
    stage: int = 0,
    member: int = 0,
    teacher: TeacherSpec | None = None,
    method: Mapping[str, Any] | None = None,
    pretrained: PretrainedSpec | None = None,
    metric: str = "top1",
) -> RunSpec:
    """Return the spec of a training under the current revisions; see `RunSpec`."""
    sharded = ("sharded",) if recipe.shards > 1 else ()
    return RunSpec(
        data=data,
        network=network,
        recipe=recipe,
        seed=seed,
        stage=stage,
        member=member,
        pretrained=pretrained,
        teacher=teacher,
        method=method,
        revision={key: hashing.REVISIONS[key] for key in ("training", "evaluation", *sharded)}
        | recipe.revisions,
        metric=metric,
    )


def build_teacher_spec(
    members: Sequence[tuple[str, str, int]],
    average_at: str,
    outputs: str,
    teacher_precision: str = "float32",
) -> TeacherSpec:
    """Return the teacher of a run: members as (digest of the run, network, epoch).

    `outputs` is `live`, or the precision of the logit caches of the members; `teacher_precision`
    is that in which the members compute.
    """
    # What the teacher's outputs rest on besides its own run.
    behaviours = ["ensemble"] if len(members) > 1 else []
    behaviours += ["table"] if outputs != "live" else []
    behaviours += ["bfloat16"] if teacher_precision == "bfloat16" else []
    return TeacherSpec(
        members=tuple(
            Member(run=run, network=network, epoch=epoch) for run, network, epoch in members
        ),
        average_at=average_at,
        outputs=outputs,
        teacher_precision=teacher_precision,
        revision={key: hashing.REVISIONS[key] for key in behaviours},
    )


def build_ensemble_spec(members: Sequence[MemberKey], seed: int) -> EnsembleSpec:
    """Return the spec of an ensemble of these (digest of a run, epoch)."""
    return EnsembleSpec(
        kind="ensemble",
        revision=hashing.REVISIONS["ensemble"],
        evaluation=hashing.REVISIONS["evaluation"],
        members=tuple(Member(run=run, epoch=epoch) for run, epoch in members),
        seed=seed,
    )


def build_logit_cache_spec(
    run: RunSpec,
    digest: str,
    epoch: int,
    precision: str,
    unlabelled: Mapping[str, Any] | None = None,
    data: DataSpec | None = None,
    teacher_precision: str = "float32",
) -> LogitCacheSpec:
    """Return the spec of the logit cache of a run after an epoch.

    Its logits are stored in `precision`, and computed in `teacher_precision`. `data` has the
    images of its students, by default those that the run was trained on; `unlabelled` is what a
    method states of its unlabelled images (`select_unlabelled_keys`), which are cached in place of
    the training images and are never mixed.
    """
    data = data or run.data
    if unlabelled and "mixed" in data.views:
        views = {key: value for key, value in data.views.items() if key != "mixed"}
        data = data.replace(views=views)
    return LogitCacheSpec(
        kind="table",
        revision=hashing.REVISIONS["table"],
        data=data,
        network=run.network,
        run=digest,
        epoch=epoch,
        precision=precision,
        teacher_precision=teacher_precision,
        bfloat16_revision=hashing.REVISIONS["bfloat16"]
        if teacher_precision == "bfloat16"
        else None,
        threads=run.recipe.threads,
        **(unlabelled or {}),
    )


def build_probe_spec(run: RunSpec, digest: str, epoch: int, data: DataSpec) -> ProbeSpec:
    """Return the spec of a linear probe of a run after an epoch on other data."""
    return ProbeSpec(
        kind="probe",
        revision=hashing.REVISIONS["probe"],
        data=data,
        network=run.network,
        run=digest,
        epoch=epoch,
        seed=run.seed,
        threads=run.recipe.threads,
    )


def build_export_eval_spec(
    run: RunSpec, digest: str, epoch: int, eval_point: str
) -> ExportEvalSpec:
    """Return the spec of the evaluation of a run as a file, at an evaluation point."""
    return ExportEvalSpec(
        kind="gauge",
        revision=hashing.REVISIONS["gauge"],
        evaluation=hashing.REVISIONS["evaluation"],
        data=run.data,
        network=run.network,
        run=digest,
        epoch=epoch,
        reading=eval_point,
        seed=run.seed,
        threads=1,
    )


def select_unlabelled_keys(method: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a method states of its unlabelled images; empty if it has none."""
    return {key: method[key] for key in UNLABELLED_KEYS if key in method}

"""Teachers that answer in bfloat16: what is folded, who is taught so, and what stays float32."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import tiny_study
from scipy.special import log_softmax, softmax
from torch import nn
from torch.nn import functional as F

from kdpipe.data import splits
from kdpipe.data.batches import ImageBatches
from kdpipe.data.views import IDENTITY_VIEWS, Views
from kdpipe.errors import KdpipeError, StoreError, StudyError
from kdpipe.jobs.cache_logits import cache_logits
from kdpipe.jobs.train import train_run
from kdpipe.jobs.validate import read_spec
from kdpipe.losses.method import long_label, method_kind, short_label
from kdpipe.models import factory
from kdpipe.models.layers import StridedShortcut
from kdpipe.runs import upstream
from kdpipe.runs.files import read_arrays
from kdpipe.runs.run_folder import outputs_path
from kdpipe.runs.spec import Member, build_logit_cache_spec
from kdpipe.training.teachers import bfloat16, cached, online

HALF = {"teacher_precision": "bfloat16"}


def _network(name: str, side: int = 8) -> tuple[nn.Module, torch.Tensor]:
    """A network with statistics and scales of its own, in eval mode, and images."""
    torch.manual_seed(0)
    model = factory.build_named_model(name, num_classes=10, in_channels=3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.running_var):
                nn.init.uniform_(value, 0.5, 2.0)
            for value in (module.bias, module.running_mean):
                nn.init.normal_(value)
    return model.eval().requires_grad_(False), torch.randn(6, 3, side, side)


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("wrn10-1", 3),  # of each block the norm between its two convolutions
        ("wrn10-2", 4),  # and that behind the stem, which the projection of block 1 reads too
        ("resnet8", 7),  # every norm: a stem, and two of each of three blocks
        ("resnet8x4", 10),  # and those of three projections
        ("densenet-bc40-12", 18),  # of each bottleneck the inner one
    ],
)
def test_folding_changes_no_output(name, folded):
    model, x = _network(name)
    before = model(x)
    pairs = bfloat16._find_foldable(model)
    assert len(pairs) == folded
    for conv, norm in pairs:
        pair = model.get_submodule(conv), model.get_submodule(norm)
        bfloat16._set_submodule(model, conv, bfloat16.fuse_conv_bn_eval(*pair))
        bfloat16._set_submodule(model, norm, nn.Identity())
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-4)


def test_a_converted_network_is_near_and_other_layers_stay():
    model, x = _network("wrn16-1", side=16)
    before = model(x)
    bfloat16.convert_model(model)
    with bfloat16.autocast(x, True):
        after, groups = model.features(x)
    assert after.dtype == torch.bfloat16
    error = (after.float() - before).abs().max() / before.abs().max()
    assert 1e-4 < error < 5e-2
    output = bfloat16.to_float32_output(bfloat16.ModelOutput(after, groups))
    assert {value.dtype for value in (output.logits, *output.groups)} == {torch.float32}
    kinds = {type(layer): value.dtype for layer in model.modules() for value in layer.parameters()}
    assert kinds[nn.Conv2d] == kinds[nn.Linear] == torch.bfloat16
    assert {d for k, d in kinds.items() if issubclass(k, nn.BatchNorm2d)} == {torch.float32}


class _Net(nn.Module):
    """A convolution and a norm, read in the way that `kind` says."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(1.0)
        if kind == "hook":
            self.conv.register_forward_hook(lambda *_: None)
        if kind == "no statistics":
            self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        y = self.conv(x)
        z = self.norm(y)
        if self.kind == "two readers":
            return z + y
        if self.kind == "norm twice":
            return self.norm(z)
        if self.kind == "shared weight":
            return z + F.conv2d(x, self.conv.weight, padding=1)
        if self.kind == "control flow" and x.sum() > 1e9:
            return y
        return z


@pytest.mark.parametrize(
    "kind",
    [
        "plain", "two readers", "norm twice", "shared weight", "control flow", "hook",
        "no statistics",
    ],
)  # fmt: skip
def test_only_a_norm_that_alone_reads_a_convolution_is_folded(kind):
    model = _Net(kind).eval()
    assert bool(bfloat16._find_foldable(model)) == (kind == "plain")
    x = torch.randn(2, 3, 8, 8)
    before = model(x)
    bfloat16.convert_model(model)
    with bfloat16.autocast(x, True):
        torch.testing.assert_close(model(x).float(), before, rtol=0.05, atol=0.05)


def test_a_folded_shortcut_keeps_its_bias_where_it_goes_another_way():
    layer = StridedShortcut(4, 8, 1, 2, bias=True)
    x = torch.randn(1, 4, 46, 46)
    expected = F.conv2d(x, layer.weight, layer.bias, stride=2)
    torch.testing.assert_close(layer(x), expected)


# --- what is planned


def test_the_key_renames_students_and_tables_and_nothing_else():
    plain, half = (
        tiny_study.planned(teacher_outputs="table", **changes)
        for changes in ({"teacher_precision": "float32"}, HALF)
    )
    assert list(plain.runs) == list(tiny_study.planned(teacher_outputs="table").runs)
    for before, after in zip(plain.runs.values(), half.runs.values(), strict=True):
        assert (before.name == after.name) == (before.spec.teacher is None)
    assert not plain.logit_caches.keys() & half.logit_caches.keys()
    teacher = half.cells[0].run.spec.teacher
    assert teacher.to_dict()["teacher_precision"] == "bfloat16"
    assert teacher.revision == {"table": 2, "bfloat16": 1}
    (cache,) = half.logit_caches.values()
    read = read_spec("table", cache.spec.canonical)
    assert read.digest == cache.spec.digest and read.bfloat16_revision == 1


def test_a_method_may_differ_from_its_study():
    methods = {
        "kd": {},
        "taught": HALF,
        "trained": {"autocast": "bfloat16"},
        "plain": {"teacher_precision": "float32"},
    }
    plan = tiny_study.planned(methods=methods, main={"methods": list(methods)})
    specs = {cell.method: cell.run.spec for cell in plan.cells}
    assert specs["kd"] == specs["plain"]
    assert specs["taught"] == specs["kd"].replace(teacher=specs["taught"].teacher)
    assert specs["taught"].teacher.teacher_precision == "bfloat16"
    assert specs["trained"].recipe.autocast == "bfloat16"
    assert specs["trained"].teacher == specs["kd"].teacher
    of_all = tiny_study.planned(methods=methods, main={"methods": list(methods)}, **HALF)
    specs = {cell.method: cell.run.spec.teacher.teacher_precision for cell in of_all.cells}
    assert specs == dict.fromkeys(methods, "bfloat16") | {"plain": "float32"}


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"temperature": 1.0}, "methods.kd.teacher_precision: float32"),
        ({"nkd_weight": 1.0}, "normalised KD"),
        ({"temperature": 2.0}, None),
        ({"attention_weight": 10.0}, None),
        ({"temperature": 1.0, "teacher_precision": "float32"}, None),
    ],
)
def test_terms_to_which_rounding_matters_are_refused(keys, named):
    if named is None:
        tiny_study.planned(methods={"kd": keys}, **HALF)
        return
    with pytest.raises(StudyError, match="rounds a teacher's logits to 8 bits") as raised:
        tiny_study.planned(methods={"kd": keys}, **HALF)
    assert named.lower() in str(raised.value).lower()


def test_kinds_say_what_differs_from_the_study():
    method = tiny_study.planned().cells[0].run.spec.method
    marks = ["taught in bfloat16", "trained in bfloat16"]
    kind = method_kind(method, 2, marks)
    assert kind == "kd, taught in bfloat16, trained in bfloat16"
    assert short_label(kind) == "KD taught in bfloat16 trained in bfloat16"
    assert long_label(kind).endswith("taught in bfloat16 trained in bfloat16")
    assert method_kind(method, 2) == "kd"


# --- what is computed


@pytest.fixture(scope="module")
def taught(tmp_path_factory, shared):
    """Two trained teachers: (results folder, runs)."""
    store = tiny_study.results(tmp_path_factory.mktemp("taught"), shared)
    plan = tiny_study.planned(main={"teachers": ["wrn10-1", "wrn16-1"]})
    runs = [run for run in plan.runs.values() if run.spec.teacher is None]
    for run in runs:
        train_run(run.spec, [], store)
    return store, runs


def _cache_spec(run, precision="float16", teacher_precision="bfloat16"):
    return build_logit_cache_spec(
        run.spec, run.digest, run.epochs, precision, teacher_precision=teacher_precision
    )


def test_a_table_has_what_a_plain_autocast_forward_answers(taught):
    store, runs = taught
    for run in runs:
        spec, exact = _cache_spec(run), _cache_spec(run, "float32", "float32")
        assert "logits differ from float32 by at most" in cache_logits(spec, store)
        cache_logits(exact, store)
        table, reference = (
            np.load(store.logit_cache(each.name) / "table.npy").astype(np.float64)
            for each in (spec, exact)
        )
        split = splits.load_split(spec.data, store)
        views = Views.from_spec(spec.data.views)
        images = ImageBatches(split.train.images, views, split.mean, split.std)
        layout, model = online.load_member(spec.members[0], spec.network, store)
        every = torch.arange(len(images))
        x = images.batch(every, torch.full_like(every, 3)).contiguous(memory_format=layout)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # nothing folded
            twin = model(x).double().numpy()
        twin -= twin.mean(1, keepdims=True)
        largest = np.abs(reference).max()
        assert np.abs(table[:, 3] - twin).max() < 0.03 * largest
        assert 1e-4 * largest < np.abs(table - reference).max() < 0.03 * largest


def test_a_table_is_checked_in_its_own_arithmetic(taught, monkeypatch):
    store, runs = taught
    half, plain = _cache_spec(runs[1], "float32"), _cache_spec(runs[1], "float32", "float32")
    for spec in (half, plain):
        cache_logits(spec, store)
    tables = [np.load(store.logit_cache(spec.name) / "table.npy") for spec in (half, plain)]
    between = np.abs(tables[0] - tables[1]).max() / (1 + np.abs(tables[1]).max())
    monkeypatch.setattr(cached, "TOLERANCE_BFLOAT16", between / 20)
    cached.CachedTeacher([half], 4.0, store)
    convert = bfloat16.convert_model
    monkeypatch.setattr(bfloat16, "convert_model", lambda model: None)
    monkeypatch.setattr(bfloat16, "autocast", lambda x, enabled: torch.autocast("cpu", None, False))
    with pytest.raises(StoreError, match="differs from its teacher's outputs"):
        cached.CachedTeacher([half], 4.0, store)
    assert convert is not bfloat16.convert_model


@pytest.mark.parametrize("outputs", ["live", "table"])
def test_validation_and_test_are_judged_by_the_stored_float32_outputs(tmp_path, shared, outputs):
    store = tiny_study.results(tmp_path, shared)
    records = {}
    for changes in ({}, HALF):
        plan = tiny_study.planned(teacher_outputs=outputs, **changes)
        for run in plan.runs.values():
            for cache in run.logit_caches:
                cache_logits(cache.spec, store)
            train_run(run.spec, [], store)
        student = plan.cells[-1].run
        records[bool(changes)] = tiny_study.record(store, student)
        (teacher,) = student.parents
    stored = upstream.load_outputs(Member(run=teacher.digest, epoch=teacher.epochs), store)
    arrays, _ = read_arrays(outputs_path(store.run(student.name)))
    for split in ("val", "test"):
        t, s = (each[f"{split}_logits"].astype(np.float64) for each in (stored, arrays))
        p, log_q = softmax(t / 4, axis=1), log_softmax(s / 4, axis=1)
        kl = (p * (log_softmax(t / 4, axis=1) - log_q)).sum(1).mean()
        assert records[True]["last"][split]["kl"] == pytest.approx(16 * kl, rel=1e-4)
    assert "teacher_rounding" not in records[False]
    rounding = records[True]["teacher_rounding"]
    assert rounding["split"] == "validation" and rounding["images"] == 40
    assert 1e-4 < rounding["largest_error"] < 3e-2
    curves = [
        (store.run(record["name"]) / "curve.jsonl").read_text() for record in records.values()
    ]
    assert curves[0] != curves[1], "the student has learned from other outputs"


def test_an_ensemble_answers_in_bfloat16_and_is_judged_in_float32(taught):
    store, runs = taught
    specs = [_cache_spec(run) for run in runs]
    members, stored = [], []
    for spec in specs:
        layout, model = online.load_member(spec.members[0], spec.network, store)
        bfloat16.convert_model(model)
        members.append((layout, model))
        stored.append(upstream.load_outputs(spec.members[0], store))
    teacher = online.OnlineTeacher(members, 1.0, stored=lambda: stored)
    split = splits.load_split(specs[0].data, store)
    images = ImageBatches(split.val.images, IDENTITY_VIEWS, split.mean, split.std)
    mean = np.mean([softmax(each["val_logits"], axis=1) for each in stored], axis=0)
    judged = teacher.predict_split("val", images)
    np.testing.assert_allclose(softmax(judged, axis=1), mean, atol=1e-5)
    answers = softmax(teacher.compute_split(images), axis=1)
    assert 1e-5 < np.abs(answers - mean).max() < 2e-2
    before = teacher.digest()
    with torch.no_grad():
        next(members[0][1].parameters()).add_(1.0)
    assert teacher.digest() != before, "also of weights in bfloat16"


@pytest.mark.parametrize(
    "change",
    [
        {"teacher_precision": "int8"},
        {"bfloat16_revision": 99},
        {"bfloat16_revision": None},
    ],
)
def test_a_spec_of_another_arithmetic_is_refused(taught, change):
    store, runs = taught
    content = _cache_spec(runs[0]).to_dict() | change
    with pytest.raises(KdpipeError):
        cache_logits(read_spec("table", content), store)


def test_a_job_refuses_what_a_study_may_not_ask(taught):
    store, _ = taught
    run = tiny_study.planned(methods={"kd": {"temperature": 1.0}}).cells[-1].run
    teacher = replace(run.spec.teacher, teacher_precision="bfloat16", revision={"bfloat16": 1})
    with pytest.raises(KdpipeError, match="needs a teacher that computes in float32"):
        train_run(run.spec.replace(teacher=teacher), [], store)

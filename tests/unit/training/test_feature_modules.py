"""Terms on the outputs of modules that a method names by their paths."""

from dataclasses import replace

import pytest
import torch
from helpers import tiny_study
from torch import nn

from kdpipe.config import load
from kdpipe.devices import host
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.hashing import canonical_json
from kdpipe.jobs.train import train_run
from kdpipe.jobs.validate import validate_spec
from kdpipe.losses import method
from kdpipe.losses.config import Method
from kdpipe.models.factory import build_named_model
from kdpipe.runs.recipe import Recipe
from kdpipe.runs.spec import ModelSpec
from kdpipe.training.forward import FeatureExtractor, make_train_forward

NETWORK = ModelSpec(name="wrn10-1", revision=1, classes=10, channels=1)
FEATURES = {"attention_weight": 10.0, "sp_weight": 3.0, "fitnet_weight": 1.0, "ce_weight": 1.0}
GROUPS = ["groups.0", "groups.1", "groups.2"]
RECIPE = {"epochs": 2, "batch_size": 32}


def plan(student=GROUPS, teacher=GROUPS, **changes):
    keys = FEATURES | {"student_modules": student, "teacher_modules": teacher}
    return tiny_study.planned(methods={"kd": keys}, recipe=RECIPE, **changes)


def train(plan, store):
    for run in plan.runs.values():
        train_run(run.spec, [], store)
    student = next(run for run in plan.runs.values() if run.parents)
    return tiny_study.record(store, student)


def test_the_groups_by_their_paths_are_the_groups(store):
    """Not the same run, but the same numbers: of values, gradients and parameters of terms."""
    named = train(plan(), store)
    grouped = train(tiny_study.planned(methods={"kd": FEATURES}, recipe=RECIPE), store)
    assert named["name"] != grouped["name"]
    assert named["last"] == grouped["last"]


def test_left_out_they_rename_no_run():
    spec = method.build_method_spec(Method(**FEATURES), epochs=2)
    assert "modules" not in canonical_json(spec)
    modules = {"student_modules": ["a.b"], "teacher_modules": ["c"]}
    named = method.build_method_spec(Method(**FEATURES, **modules), epochs=2)
    assert {key: value for key, value in named.items() if key not in spec} == modules
    assert "features of a.b (teacher c)" in method.report_columns(named)["terms"]


def test_an_output_is_taken_before_it_is_changed_in_place():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True)
            self.linear = nn.Linear(2, 10)

        def forward(self, x):
            return self.linear(self.relu(self.conv(x)).mean((2, 3)))

    model, x = Net(), torch.randn(4, 1, 3, 3)
    extractor = FeatureExtractor(model, NETWORK, {"groups"}, ["relu", "conv"])
    relu, conv = extractor(x).groups
    torch.testing.assert_close(conv, nn.functional.conv2d(x, model.conv.weight, model.conv.bias))
    assert torch.equal(relu, conv.relu())
    extractor.close()
    assert not model.conv._forward_hooks


class Twice(nn.Module):
    """A network that runs one module twice, and one that puts out a tuple."""

    def __init__(self):
        super().__init__()
        self.linear, self.idle, self.lstm = nn.Linear(10, 10), nn.Identity(), nn.LSTM(10, 10)

    def forward(self, x):
        return self.linear(self.linear(self.lstm(x)[0]))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("linear", "runs 2 times in a forward pass"),
        ("idle", "runs 0 times"),
        ("lstm", "returns tuple, but terms compare features of 4 images"),
        ("linaer", "has no module 'linaer'; did you mean linear?"),
    ],
)
def test_a_module_without_one_output_is_refused(path, message):
    with pytest.raises(KdpipeError) as error:
        extractor = FeatureExtractor(Twice(), NETWORK, {"groups"}, [path])
        extractor(torch.randn(4, 10))
    assert message in str(error.value)


def test_a_path_that_does_not_exist_ends_a_job_before_it_trains(store, capsys):
    runs = plan(teacher=["groups.0", "groups.1", "groups.7"])
    with pytest.raises(KdpipeError, match=r"wrn10-1 has no module 'groups\.7'; did you mean"):
        train(runs, store)
    runs = plan(student=["group", "groups.1", "groups.2"])
    with pytest.raises(KdpipeError, match=r"wrn10-0.5 has no module 'group'"):
        train(runs, store)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher_modules": None}, "must have the same number of paths"),
        ({"teacher_modules": ["a", "b"]}, "must have the same number of paths"),
        (
            {"attention_weight": 0.0, "kd_weight": 1.0},
            "no term of this method compares module outputs",
        ),
    ],
)
def test_mistakes_of_a_study_are_named(changes, message):
    keys = {"attention_weight": 1.0, "student_modules": ["a"], "teacher_modules": ["a"]} | changes
    with pytest.raises(StudyError, match=message):
        load.validate_study(tiny_study.study(methods={"kd": keys}), "tiny")


def test_a_logit_cache_is_refused():
    keys = {"attention_weight": 1.0, "student_modules": ["a"], "teacher_modules": ["a"]}
    content = tiny_study.study(methods={"kd": keys}) | {"teacher_outputs": "table"}
    with pytest.raises(StudyError, match="teacher_outputs: table caches logits only"):
        load.validate_study(content, "tiny")
    student = next(run for run in plan().runs.values() if run.parents)
    assert student.spec.teacher.outputs == "live"
    spec = replace(student.spec, teacher=replace(student.spec.teacher, outputs="float16"))
    with pytest.raises(KdpipeError, match="a logit cache has no outputs of its teacher's modules"):
        validate_spec(spec)


def test_networks_without_groups_can_be_compared():
    """The check knows no shapes of modules, and leaves the rest to the job."""
    content = tiny_study.study(
        methods={"kd": FEATURES | {"student_modules": ["a"], "teacher_modules": ["b"]}},
        main={"teachers": ["densenet-bc10-8"], "students": ["wrn10-0.5"]},
    )
    load.validate_study(content, "tiny")


def test_a_compiled_student_has_the_same_features(monkeypatch):
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **k: real(*a, backend="aot_eager", **k))
    monkeypatch.setattr(host, "find_missing_toolchain", lambda *_: None)
    x, outputs = torch.randn(4, 1, 8, 8), []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = build_named_model("wrn10-1", num_classes=10, in_channels=1).eval()
        extractor = FeatureExtractor(model, NETWORK, {"groups"}, GROUPS)
        forward = make_train_forward(extractor, Recipe(epochs=1, lr=1, compile=compiled))
        forward(x, {"at": 1.0})  # the second time it is compiled
        outputs.append(forward(x, {"at": 1.0}))
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits)
    torch.testing.assert_close(outputs[0].groups, outputs[1].groups)

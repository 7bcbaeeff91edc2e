"""Runs that begin from weights: trained as torch alone would, with a teacher and without."""

import hashlib

import pytest
import torch
from helpers import tiny_study
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from kdpipe import hashing
from kdpipe.analysis.preregistration import registration
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.data import splits, streaming
from kdpipe.data.views import Views
from kdpipe.errors import StudyError
from kdpipe.models.factory import build_named_model
from kdpipe.models.pretrained import weights
from kdpipe.plan import planner
from kdpipe.runs import run_folder
from kdpipe.runs.integrity import data_drift
from kdpipe.training import benchmark, loop

FROZEN = ("stem.", "groups.0.")
INPUT = {"size": 12, "mean": [0.4], "std": [0.3]}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights of a network for other classes."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    torch.manual_seed(7)
    state = build_named_model("wrn10-0.5", num_classes=4, in_channels=1).state_dict()
    save_file({key: value.clone() for key, value in state.items()}, path)
    return path


def study(file, keys=None, **changes) -> dict:
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    start = {"network": "wrn10-0.5", "path": str(file), "sha256": sha256, **(keys or {})}
    main = {"students": ["warm", "wrn10-0.5"]} | changes.pop("main", {})
    return tiny_study.study(starts={"warm": start}, main=main, **changes)


def planned(file, keys=None, **changes):
    return planner.build_plan(load.validate_study(study(file, keys, **changes), "tiny"))


def command(run, file, store, keep=()):
    return [*tiny_study.train(run, keep, str(store.root)), f"--weights={file}"]


def of(plan, network, taught):
    """The one run of a network: on labels, or by a teacher."""
    runs = plan.runs.values()
    (run,) = [r for r in runs if r.network == network and bool(r.spec.teacher) == taught]
    return run


def test_scratch_and_student_begin_from_the_same_weights(file, store):
    plan = planned(file, keep_checkpoints={"warm": ["checkpoint 0"]})
    scratch, student, random = (
        of(plan, "warm", False),
        of(plan, "warm", True),
        of(plan, "wrn10-0.5", False),
    )
    assert set(plan.weights) == {scratch.name, student.name}
    assert plan.weights[scratch.name] == str(file)
    teacher = of(plan, "wrn10-1", False)
    assert main(tiny_study.train(teacher, (), str(store.root))) == 0
    begun = []
    for run in (scratch, student):
        assert main(command(run, file, store, [0])) == 0
        record = tiny_study.record(store, run)
        assert record["start"]["new"] == ["linear.weight", "linear.bias"]
        assert record["start"]["frozen"] == 0
        begun.append(load_file(run_folder.weights_path(store.run(run.name), 0)))
    reference = load_file(file)
    for key, value in begun[0].items():
        assert torch.equal(value, begun[1][key]), key
        assert key.startswith("linear.") or torch.equal(value, reference[key]), key
    assert main(tiny_study.train(random, [0], str(store.root))) == 0
    assert "start" not in tiny_study.record(store, random)


def _resize_by_hand(x, split):
    """The images of INPUT: pixels in [0, 1], scaled to 12 x 12, normalized by other numbers."""
    pixels = x * float(split.std[0]) + float(split.mean[0])
    scaled = F.interpolate(pixels, (12, 12), mode="bilinear", antialias=True, align_corners=False)
    return (scaled - 0.4) / 0.3


@pytest.mark.parametrize("own_input", [None, INPUT])
def test_it_is_trained_as_torch_alone_would(own_input, file, store):
    """Two epochs by hand: torch's SGD with groups of its own, a frozen part in eval mode."""
    keys = {"freeze": ["stem.*", "groups.0.*"], "backbone_lr": 0.1}
    plan = planned(file, keys | ({"input": own_input} if own_input else {}))
    run = of(plan, "warm", False)
    assert main(command(run, file, store)) == 0
    spec = run.spec
    split = splits.load_split(spec.data, store)
    views = Views.from_spec(spec.data.views)
    images = streaming.create_batches(split.train, views, split, torch.device("cpu"), 0)
    with torch.random.fork_rng():
        torch.manual_seed(hashing.derive_run_seed(spec, "init"))
        model = build_named_model("wrn10-0.5", num_classes=10, in_channels=1)
    reference = {k: v for k, v in load_file(file).items() if not k.startswith("linear.")}
    model.load_state_dict(reference, strict=False)
    recipe = spec.recipe
    head = list(model.linear.parameters())
    body = [p for name, p in model.named_parameters() if not name.startswith((*FROZEN, "linear."))]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(FROZEN))
    groups = [{"params": head, "part": 1.0}, {"params": body, "part": 0.1}]
    keys = {key: getattr(recipe, key) for key in ("momentum", "weight_decay")}
    optimiser = torch.optim.SGD(groups, lr=recipe.lr, **keys)
    for epoch in range(recipe.epochs):
        lr = recipe.lr * recipe.drop_factor ** sum(epoch >= each for each in recipe.drop_epochs)
        for group in optimiser.param_groups:
            group["lr"] = lr * group["part"]
        order, view = loop._draw_order_and_views(spec, epoch, len(images), views)
        model.train()
        model.stem.eval()
        model.groups[0].eval()
        for index, _, x in images.batches(order, view, recipe.batch_size, 0):
            y = torch.as_tensor(split.train.labels)[index]
            optimiser.zero_grad()
            x = _resize_by_hand(x, split) if own_input else x
            F.cross_entropy(model(x), y).backward()
            optimiser.step()
    written = load_file(store.run(run.name) / "weights.safetensors")
    if own_input:
        assert float(written.pop("mean")) == pytest.approx(float(split.mean[0]))
        assert float(written.pop("std")) == pytest.approx(float(split.std[0]))
        written = {key.removeprefix("network."): value for key, value in written.items()}
    for key, value in model.state_dict().items():
        torch.testing.assert_close(written[key], value, rtol=1e-4, atol=1e-5, msg=key)
        if key.startswith(FROZEN):
            assert torch.equal(written[key], reference[key]), key
        elif value.is_floating_point():
            assert key.startswith("linear.") or not torch.equal(written[key], reference[key]), key
    assert tiny_study.record(store, run)["start"]["frozen"] == sum(
        key.startswith(FROZEN) for key in reference
    )


@pytest.mark.parametrize("taught", [False, True])
def test_cut_off_within_an_epoch_it_ends_in_the_same_bytes(
    taught, file, tmp_path, shared, monkeypatch
):
    plan = planned(file, {"freeze": ["stem.*"], "backbone_lr": 0.3}, recipe={"ema": 0.9})
    run, ends = of(plan, "warm", taught), []
    for name in ("whole", "in parts"):
        (tmp_path / name).mkdir()
        store = tiny_study.results(tmp_path / name, shared)
        if taught:
            assert main(tiny_study.train(of(plan, "wrn10-1", False), (), str(store.root))) == 0
        for stop in (1, 2, 3) if name == "in parts" else ():
            with monkeypatch.context() as patch:
                tiny_study.stop_after(patch, stop)
                assert main(command(run, file, store)) == 75
        assert main(command(run, file, store)) == 0
        ends.append(tiny_study.exact(store.run(run.name)))
    assert ends[0] == ends[1]


def test_a_backbone_alone_teaches_through_a_probe_on_images_of_its_own(file, tmp_path, store):
    """Only the classifier moves, and a student learns from logits and features of the teacher."""
    backbone = tmp_path / "backbone.safetensors"
    state = {k: v for k, v in load_file(file).items() if not k.startswith("linear.")}
    save_file(state, backbone)
    plan = planned(
        backbone,
        {"probe": True, "input": INPUT},
        main={"teachers": ["warm"], "students": ["wrn10-0.5"], "methods": ["kd", "rkd"]},
        methods={"kd": {}, "rkd": {"kd_weight": 0, "rkd_weight": 1.0}},
    )
    teacher = of(plan, "warm", False)
    assert teacher.cost.multiply_adds > of(plan, "wrn10-0.5", False).cost.multiply_adds
    assert main(command(teacher, backbone, store, [0])) == 0
    begun = load_file(run_folder.weights_path(store.run(teacher.name), 0))
    written = load_file(store.run(teacher.name) / "weights.safetensors")
    assert not torch.equal(written["network.linear.weight"], begun["network.linear.weight"])
    for key, value in state.items():
        assert torch.equal(written[f"network.{key}"], value), key
    record = tiny_study.record(store, teacher)
    assert record["start"]["new"] == ["linear.weight", "linear.bias"]
    students = [run for run in plan.runs.values() if run.spec.teacher]
    assert len(students) == 2
    for run in students:
        assert main(tiny_study.train(run, (), str(store.root))) == 0
        assert tiny_study.record(store, run)["status"] == "done"


@pytest.mark.parametrize("keys", [{}, {"probe": True}, {"input": INPUT, "probe": True}])
def test_its_speed_is_measured_from_weights_like_its_own(keys, file):
    plan = planned(file, keys)
    run = of(plan, "warm", False)
    measured = benchmark.benchmark_training(run.spec, plan.card.shape, run.cost.multiply_adds, 0.3)
    assert measured["step"] > 0 and measured["image"] > 0


def test_all_that_decides_is_in_its_name(tmp_path, file):
    one = set(planned(file).runs)
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "v.safetensors"
    moved.write_bytes(file.read_bytes())
    assert set(planned(moved).runs) == one  # where the file lies is not, nor is it registered
    requests = [
        registration.get_registered_content(load.validate_study(study(path), "s"))
        for path in (file, moved)
    ]
    assert requests[0] == requests[1]
    changed = [{"freeze": ["stem.*"]}, {"new": ["stem.*"]}, {"backbone_lr": 0.5}]
    changed += [{"input": INPUT}, {"input": INPUT | {"size": 10}}]
    names = [set(planned(file, keys).runs) for keys in changed]
    for other in names:
        assert {name for name in one - other} == {name for name in one if "warm" in name}
    state = load_file(file)
    save_file({**state, "linear.bias": torch.ones(4)}, moved)
    assert {name for name in one - set(planned(moved).runs)} == {n for n in one if "warm" in n}
    assert set(planned(file, {"probe": True}).runs) == set(planned(file, {"freeze": ["*"]}).runs)
    random = {name for name in tiny_study.planned().runs}
    assert random < one  # those at random keep theirs


def test_it_teaches_and_is_averaged_as_any_network(file):
    ensemble = {"two": {"networks": ["warm"], "copies": 2}}
    plan = planned(file, ensembles=ensemble, main={"teachers": ["warm", "two", "self"]})
    taught = [run for run in plan.runs.values() if run.spec.teacher]
    assert {m.network for run in taught for m in run.spec.teacher.members} == {
        "warm",
        "wrn10-0.5",
    }
    members = [run for run in plan.runs.values() if run.network == "warm" and run.spec.member]
    assert len(members) == 1 and members[0].name in plan.weights


WRONG = {
    "network": ({"network": "wrn10-0.7x"}, "starts.warm.network: "),
    "itself": ({"network": "warm"}, "warm is an entry of `starts` itself"),
    "file": ({"path": "/nowhere/w.pt", "sha256": None}, "starts.warm.path: there is no file"),
    "weights": ({"weights": "IMAGENET1K_V1", "sha256": None}, "starts.warm.weights: "),
    "both": ({"weights": "IMAGENET1K_V1"}, "remove sha256"),
    "checksum": ({"sha256": None}, "starts.warm.sha256: missing required key"),
    "input": ({"input": {"size": 12}}, "starts.warm.input: give the mean and std"),
    "channels": (
        {"input": INPUT | {"mean": [0.4] * 3, "std": [0.3] * 3, "size": 2}},
        "starts.warm.input",
    ),
    "card": ({"input": {"card": True}}, "starts.warm.input.card: only named weights of"),
    "faster": ({"backbone_lr": 2}, "starts.warm.backbone_lr"),
    "probe": ({"probe": True, "freeze": ["stem.*"]}, "probe: true freezes the whole backbone"),
}


def test_a_study_is_planned_without_its_file(file):
    with_file = planned(file)
    plan = planned(file, {"path": "/nowhere/w.pt"})
    assert plan.runs.keys() == with_file.runs.keys()
    warm = [name for name in plan.weights if plan.runs[name].network == "warm"]
    assert data_drift.check_study_inputs(plan, "s") == []  # nothing can be said of the file
    (message,) = data_drift.find_missing_weights(plan, warm[:1])
    assert message.startswith("starts.warm.path: there is no file '/nowhere/w.pt'")
    others = plan.runs.keys() - plan.weights.keys()
    assert others and data_drift.find_missing_weights(plan, others) == []
    assert data_drift.find_missing_weights(with_file, plan.runs) == []


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_of_a_study_are_named(case, file):
    keys, message = WRONG[case]
    with pytest.raises(StudyError) as error:
        planned(file, keys)
    assert message in str(error.value), error.value


def test_a_name_that_is_taken_is_refused(file):
    for name in ("wrn16-1", "main"):
        content = study(file)
        content["starts"][name] = content["starts"]["warm"]
        with pytest.raises(StudyError, match=name):
            load.validate_study(content, "s")


def test_a_normalisation_that_nobody_said_is_noticed(file):
    message = "\n".join(load.collect_notes(load.validate_study(study(file), "s")))
    assert "starts.warm: its weights do not specify the mean and std" in message
    report = study(file, data={"mean": [0.5], "std": [0.25]})
    assert "starts.warm" not in "\n".join(load.collect_notes(load.validate_study(report, "s")))


def test_what_does_not_fit_is_said_before_anything_runs(file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_study.write(tmp_path / "s.yaml", study(file))
    read, whole = [], weights.read_weights
    monkeypatch.setattr(
        weights, "read_weights", lambda *requests: read.append(requests) or whole(*requests)
    )
    assert main(["check", "s.yaml"]) == 0
    assert len(read) == 1  # it may be of gigabytes
    assert "new, at random: linear.weight, linear.bias" in capsys.readouterr().out
    tiny_study.write(tmp_path / "s.yaml", study(file, {"network": "wrn16-1"}, main={}))
    assert main(["check", "s.yaml"]) == 2
    message = capsys.readouterr().err
    assert (
        f"starts.warm: {file} does not fit wrn16-1" in message
        and message.count("starts.warm: ") == 1
    )

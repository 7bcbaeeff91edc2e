"""Runs a step in half precision and a compiled one (`autocast: bfloat16`, `compile: true`)."""

from kdpipe.devices import determinism, host, leases
from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture
from kdpipe.runs.recipe import Recipe
from kdpipe.runs.spec import ModelSpec


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    import torch

    from kdpipe.gpu_check import compare
    from kdpipe.training.forward import FeatureExtractor, make_train_forward

    name, shape = ("wrn10-0.5" if fixture.quick else "wrn16-1"), (3, 32, 32)
    images, labels = compare.make_batch(shape, 8)
    numbers, errors, skipped = {}, [], []
    with leases.acquire_gpus("cuda", 1):
        device = determinism.prepare_torch_device("cuda")
        expected, _ = compare.run_training_step(
            compare.build_network(name, shape).to(device), images, labels
        )
        for option, recipe in {
            "autocast": Recipe.from_spec({"epochs": 1, "lr": 0.1, "autocast": "bfloat16"}),
            "compile": Recipe.from_spec({"epochs": 1, "lr": 0.1, "compile": True}),
        }.items():
            if option == "compile" and (missing := host.find_missing_toolchain(device.type)):
                skipped.append(f"compile was not tried: {missing}")
                continue
            model = compare.build_network(name, shape).to(device)
            network = ModelSpec(name=name, revision=1, classes=10, channels=shape[0])
            extractor = FeatureExtractor(model, network, frozenset())
            outputs = make_train_forward(extractor, recipe)(images.to(device), {})
            torch.nn.functional.cross_entropy(outputs.logits, labels.to(device)).backward()
            distance = compare.relative_error([outputs.logits], [expected.cpu()])
            bound = compare.TOLERANCE["bfloat16" if option == "autocast" else "float32"][0]
            numbers[option] = distance
            if not distance <= bound:
                errors.append(f"{option}: logits differ by {distance:.1e}, more than {bound:g}")
    outputs = ", ".join(
        f"{option} differs by {distance:.0e}" for option, distance in numbers.items()
    )
    return Outcome(not errors, "; ".join([*(errors or [outputs]), *skipped]), numbers)


CHECK = Check(
    order=90,
    title="Half precision, and a compiled network",
    function=run_check,
    meanwhile="remove autocast, or compile, from the recipe",
)

"""Compares a training step of one network of every family with the CPU."""

from kdpipe.devices import determinism, leases
from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture

# For each family a network, a smaller one for a quick check, and the shape of its images.
NETWORKS = {
    "wrn": (("wrn16-2", "wrn10-0.5"), (3, 32, 32)),
    "resnet": (("resnet20", "resnet8"), (3, 32, 32)),
    "densenet-bc": (("densenet-bc40-12", "densenet-bc10-4"), (3, 32, 32)),
    "torchvision": (("resnet18", "squeezenet1_1"), (3, 224, 224)),
}


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    from kdpipe.gpu_check import compare

    bounds, numbers, errors = compare.TOLERANCE["float32"], {}, []
    with leases.acquire_gpus("cuda", 1):
        device = determinism.prepare_torch_device("cuda")
        for family, (names, shape) in NETWORKS.items():
            name = names[fixture.quick]
            distances = compare.compare_to_cpu(name, shape, 4, device, "float32")
            numbers[f"{family}_logits"], numbers[f"{family}_gradients"] = distances
            if not all(value <= 10 * bound for value, bound in zip(distances, bounds, strict=True)):
                errors.append(
                    f"{name}: logits differ by {distances[0]:.1e}, gradients by {distances[1]:.1e}"
                )
    message = f"{len(NETWORKS)} families differ by at most {max(numbers.values()):.0e}"
    return Outcome(not errors, "; ".join(errors) or message, numbers)


CHECK = Check(
    order=80,
    title="One network of every family against the CPU",
    function=run_check,
    meanwhile="do not use networks of that family on this GPU",
)

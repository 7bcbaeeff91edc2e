"""Compares a step of WRN16-1 on the GPU in float32, TF32 and bfloat16 with the CPU in float32."""

from kdpipe.devices import determinism, leases
from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture


def run_check(fixture: CheckFixture) -> Outcome:
    """Run the check."""
    from kdpipe.gpu_check import compare

    name, images = ("wrn10-0.5", 8) if fixture.quick else ("wrn16-1", 64)
    numbers, errors = {}, []
    with leases.acquire_gpus("cuda", 1):
        device = determinism.prepare_torch_device("cuda")
        for precision, bounds in compare.TOLERANCE.items():
            distances = compare.compare_to_cpu(name, (3, 32, 32), images, device, precision)
            for quantity, value, bound in zip(
                ("logits", "gradients"), distances, bounds, strict=True
            ):
                numbers[f"{precision}_{quantity}"] = value
                if not value <= bound:  # nan too
                    errors.append(
                        f"{quantity} in {precision} differ by {value:.1e}, more than {bound:g}"
                    )
    summary = ", ".join(
        f"{precision} {numbers[f'{precision}_logits']:.0e}" for precision in compare.TOLERANCE
    )
    return Outcome(not errors, "; ".join(errors) or f"logits differ by: {summary}", numbers)


CHECK = Check(
    order=50,
    title="A training step against the CPU",
    function=run_check,
    meanwhile="device: cpu; if only bfloat16 fails: remove autocast from the recipe",
)

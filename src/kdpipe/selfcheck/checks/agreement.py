"""A step of WRN16-1 on the GPU in float32, TF32 and bfloat16, beside the CPU's in float32."""

from kdpipe.devices import exact, leases
from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome


def look(bench: Bench) -> Outcome:
    from kdpipe.selfcheck import compared

    name, images = ("wrn10-0.5", 8) if bench.quick else ("wrn16-1", 64)
    numbers, wrong = {}, []
    with leases.held("cuda", 1):
        where = exact.torch_device("cuda")
        for way, bounds in compared.TOLERANCE.items():
            found = compared.beside(name, (3, 32, 32), images, where, way)
            for what, value, bound in zip(("logits", "gradients"), found, bounds, strict=True):
                numbers[f"{way}_{what}"] = value
                if not value <= bound:  # nan is none
                    wrong.append(f"{what} in {way} are off by {value:.1e}, more than {bound:g}")
    off = ", ".join(f"{way} {numbers[f'{way}_logits']:.0e}" for way in compared.TOLERANCE)
    return Outcome(not wrong, "; ".join(wrong) or f"logits are off by: {off}", numbers)


CHECK = Check(
    order=50,
    title="A step beside the CPU's",
    look=look,
    meanwhile="device: cpu; in bfloat16 alone: leave autocast out of the recipe",
)

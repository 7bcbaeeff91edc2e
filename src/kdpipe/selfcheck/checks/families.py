"""A step of a network of every family beside the CPU's."""

from kdpipe.devices import exact, leases
from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome

# Of each family one network, the smallest where it is to be quick, and the images that it takes.
NETWORKS = {
    "wrn": (("wrn16-2", "wrn10-0.5"), (3, 32, 32)),
    "resnet": (("resnet20", "resnet8"), (3, 32, 32)),
    "densenet-bc": (("densenet-bc40-12", "densenet-bc10-4"), (3, 32, 32)),
    "torchvision": (("resnet18", "squeezenet1_1"), (3, 224, 224)),
}


def look(bench: Bench) -> Outcome:
    from kdpipe.selfcheck import compared

    bounds, numbers, wrong = compared.TOLERANCE["float32"], {}, []
    with leases.held("cuda", 1):
        where = exact.torch_device("cuda")
        for family, (names, shape) in NETWORKS.items():
            name = names[bench.quick]
            found = compared.beside(name, shape, 4, where, "float32")
            numbers[f"{family}_logits"], numbers[f"{family}_gradients"] = found
            if not all(value <= 10 * bound for value, bound in zip(found, bounds, strict=True)):
                wrong.append(f"{name}: logits off by {found[0]:.1e}, gradients by {found[1]:.1e}")
    said = f"{len(NETWORKS)} families are off by {max(numbers.values()):.0e} at most"
    return Outcome(not wrong, "; ".join(wrong) or said, numbers)


CHECK = Check(
    order=80,
    title="A network of every family beside the CPU's",
    look=look,
    meanwhile="leave networks of that family out on this GPU",
)

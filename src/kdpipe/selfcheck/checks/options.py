"""A step in half precision and a compiled one: `autocast: bfloat16` and `compile: true`."""

from kdpipe.devices import compiling, exact, leases
from kdpipe.selfcheck.bench import Bench
from kdpipe.selfcheck.check import Check, Outcome


def look(bench: Bench) -> Outcome:
    import torch

    from kdpipe.selfcheck import compared
    from kdpipe.training.answers import Answers, in_training

    name, shape = ("wrn10-0.5" if bench.quick else "wrn16-1"), (3, 32, 32)
    images, labels = compared.batch(shape, 8)
    numbers, wrong, untried = {}, [], []
    with leases.held("cuda", 1):
        where = exact.torch_device("cuda")
        expected, _ = compared.step(compared.network(name, shape).to(where), images, labels)
        for way, recipe in {
            "autocast": {"autocast": "bfloat16"},
            "compile": {"compile": True},
        }.items():
            if way == "compile" and (missing := compiling.missing(where.type)):
                untried.append(f"compile was not tried: {missing}")
                continue
            model = compared.network(name, shape).to(where)
            answers = Answers(model, {"name": name, "classes": 10}, frozenset())
            said = in_training(answers, recipe)(images.to(where), {})
            torch.nn.functional.cross_entropy(said.logits, labels.to(where)).backward()
            off = compared.distance([said.logits], [expected.cpu()])
            bound = compared.TOLERANCE["bfloat16" if way == "autocast" else "float32"][0]
            numbers[way] = off
            if not off <= bound:
                wrong.append(f"{way}: logits are off by {off:.1e}, more than {bound:g}")
    said = ", ".join(f"{way} is off by {off:.0e}" for way, off in numbers.items())
    return Outcome(not wrong, "; ".join([*(wrong or [said]), *untried]), numbers)


CHECK = Check(
    order=90,
    title="Half precision, and a compiled network",
    look=look,
    meanwhile="leave autocast, or compile, out of the recipe",
)

"""`kdpipe networks [STUDY]`: every name that a network may have, with what it has and takes."""

import textwrap

from kdpipe.cli.command import Command

SHAPE, CLASSES = (3, 32, 32), 10  # without a study: CIFAR's


def arguments(parser) -> None:
    help = "a study file, for its images, classes and own networks; default: those of CIFAR-10"
    parser.add_argument("study", nargs="?", help=help)


def run(options) -> None:
    from kdpipe.data.cards import card_of_keys
    from kdpipe.networks import naming
    from kdpipe.study import checking
    from kdpipe.upkeep.comparing import taken_by

    own, shape, classes = [], SHAPE, CLASSES
    if options.study:
        study = checking.load(options.study, carded=False)
        card = card_of_keys(study.data)
        own, shape, classes = taken_by(study), card.shape, card.classes
    size = " x ".join(map(str, shape))
    lines = [f"for images of {size} in {classes:,} classes; multiply-adds are those of one image"]
    for kind, family in naming.families().items():
        lines += ["", f"{kind}: {family.spelling}", *_examples(kind, shape, classes)]
    if own:
        lines += ["", f"of one's own, as {options.study} names them"]
        lines += [_own(options.study, study, one) for one in own]
    print("\n".join(lines))


def _examples(kind: str, shape: tuple, classes: int) -> list[str]:
    """The names that a family thinks of, the cheapest first."""
    from kdpipe.errors import KdpipeError
    from kdpipe.networks import naming
    from kdpipe.networks.family import USUAL

    family = naming.families()[kind]
    rows, refused = [], {}
    for name in family.near(""):
        network = family.parse(name)
        assert network is not None
        try:
            family.check(network, shape)
            cost = family.cost(network, shape, classes)
        except KdpipeError as error:
            refused[name] = str(error)
        else:
            rows.append((cost, name, "" if network.linear else "no linear end"))
    rows.sort(key=lambda row: row[0].multiply_adds)
    lines = [_row(name, cost.parameters, cost.multiply_adds, marks) for cost, name, marks in rows]
    if refused and not lines and shape != USUAL:
        said = f"not for these images ({next(iter(refused.values()))}): {', '.join(refused)}"
        return textwrap.wrap(said, 98, initial_indent="  ", subsequent_indent="    ")
    return lines + [f"  {why}" for why in refused.values()]


def _row(name: str, parameters: int, multiply_adds: int, marks: str = "") -> str:
    line = f"  {name:<22}{parameters:>13,} parameters{multiply_adds:>17,} mult-adds  {marks}"
    return line.rstrip()


def _own(source: str, study, one) -> str:
    """A network of one's own for images (`taken.Taking`), as its card has it."""
    from pathlib import Path

    from kdpipe.errors import KdpipeError
    from kdpipe.networks.own import card

    try:
        folder = Path(study.code or "")
        network = study.networks[one.name]
        found = card.find(folder, one.name, network, one.shape, one.classes, source)
    except KdpipeError as error:
        return f"  {one.name:<22}{error}"
    return _row(one.name, found.parameters, found.multiply_adds, found.build)


COMMAND = Command(
    order=88,
    help="list every network that can be named, with parameters and operations",
    arguments=arguments,
    run=run,
    without=("torch", "pandas"),
)

"""`kdpipe networks [STUDY]`: list the available networks with their size and cost."""

import textwrap

from kdpipe.cli.command import Command

SHAPE, CLASSES = (3, 32, 32), 10  # without a study: CIFAR's


def add_arguments(parser) -> None:
    """Add the arguments of `kdpipe networks`."""
    help = (
        "a study file, for its image size, classes and custom networks; default: those of CIFAR-10"
    )
    parser.add_argument("study", nargs="?", help=help)


def run(options) -> None:
    """Print the available networks with their parameters and multiply-adds."""
    from kdpipe.config import load
    from kdpipe.data.cards import load_section_card
    from kdpipe.models import registry
    from kdpipe.runs.integrity.data_drift import resolve_custom_inputs

    custom_inputs, shape, classes = [], SHAPE, CLASSES
    if options.study:
        study = load.load_study(options.study, require_cards=False)
        card = load_section_card(study.data)
        custom_inputs, shape, classes = resolve_custom_inputs(study), card.shape, card.classes
    size = " x ".join(map(str, shape))
    lines = [f"for images of {size} in {classes:,} classes; mult-adds are per image"]
    for kind, family in registry.load_families().items():
        lines += ["", f"{kind}: {family.name_format}", *_format_family(kind, shape, classes)]
    if custom_inputs:
        lines += ["", f"custom networks of {options.study}"]
        lines += [
            _format_custom(options.study, study, model_input) for model_input in custom_inputs
        ]
    print("\n".join(lines))


def _format_family(kind: str, shape: tuple, classes: int) -> list[str]:
    """Return the lines of a family's networks, the cheapest first."""
    from kdpipe.errors import KdpipeError
    from kdpipe.models import registry
    from kdpipe.models.family import DEFAULT_SHAPE

    family = registry.load_families()[kind]
    rows, refusals = [], {}
    for name in family.suggest(""):
        network = family.parse(name)
        assert network is not None
        try:
            family.check(network, shape)
            cost = family.cost(network, shape, classes)
        except KdpipeError as error:
            refusals[name] = str(error)
        else:
            rows.append((cost, name, "" if network.linear else "no linear classifier"))
    rows.sort(key=lambda row: row[0].multiply_adds)
    lines = [
        _format_row(name, cost.parameters, cost.multiply_adds, marks) for cost, name, marks in rows
    ]
    if refusals and not lines and shape != DEFAULT_SHAPE:
        message = f"not for these images ({next(iter(refusals.values()))}): {', '.join(refusals)}"
        return textwrap.wrap(message, 98, initial_indent="  ", subsequent_indent="    ")
    return lines + [f"  {reason}" for reason in refusals.values()]


def _format_row(name: str, parameters: int, multiply_adds: int, marks: str = "") -> str:
    """Return the line of one network."""
    line = f"  {name:<22}{parameters:>13,} parameters{multiply_adds:>17,} mult-adds  {marks}"
    return line.rstrip()


def _format_custom(source: str, study, model_input) -> str:
    """Return the line of a custom network for one input, from its card."""
    from pathlib import Path

    from kdpipe.errors import KdpipeError
    from kdpipe.models.custom import card

    try:
        folder = Path(study.code or "")
        network = study.networks[model_input.name]
        info = card.load_card(
            folder, model_input.name, network, model_input.shape, model_input.classes, source
        )
    except KdpipeError as error:
        return f"  {model_input.name:<22}{error}"
    return _format_row(model_input.name, info.parameters, info.multiply_adds, info.build)


COMMAND = Command(
    order=88,
    help="list the available networks with parameters and multiply-adds",
    add_arguments=add_arguments,
    run=run,
    never_imports=("torch", "pandas"),
)

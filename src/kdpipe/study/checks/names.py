"""Names that a study gives, each once and none that means a network; and seeds, each once."""

from collections.abc import Iterator

from kdpipe.networks import naming
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import twice


def _names(sound: Sound) -> Iterator[str]:
    seen: dict[str, str] = {}
    for where, name in _places(sound):
        if name in seen:
            yield f"{where}: the name {name} is taken by {seen[name]}; each needs its own"
        elif name == "self" or naming.has_form(name):
            yield f"{where}: {name} means a network here; take another name"
        seen.setdefault(name, where)
    seeds = {f"experiments[{index}].seeds": block.seeds for index, block in sound.blocks.items()}
    for where, values in {"seeds": sound.seeds, **seeds}.items():
        for seed in twice(values if isinstance(values, list) else []):
            yield f"{where}: {seed} stands twice"


def _places(sound: Sound) -> Iterator[tuple[str, str]]:
    """Each name that an experiment can call a teacher by, after the key that gives it."""
    for index, block in sound.blocks.items():
        if block.name:
            yield f"experiments[{index}].name", block.name
    for name in sound.ensembles:
        yield f"ensembles.{name}", str(name)
    for name in sound.pretrained:
        yield f"pretrained.{name}", str(name)
    for name in sound.networks.own:
        yield f"networks.{name}", str(name)
    for name in sound.starts:
        yield f"starts.{name}", str(name)


CHECK = Check(20, _names)

"""Mixed images: who learns from them asks its teacher live, and looks at no single label."""

from collections.abc import Iterator

from kdpipe.learning import method as methods
from kdpipe.learning import mixing
from kdpipe.learning.own.card import TermCard
from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import listed


def _mixing(sound: Sound) -> Iterator[str]:
    tabled: dict[str, str] = {}
    for index, block in sound.blocks.items():
        if {"students", "via"} & salvage.lost(block):
            continue
        students: list[str] = [*(block.via or []), *block.students]
        for network in dict.fromkeys(students):
            recipe = sound.recipe_of(network)
            if recipe is None or not (mixed := list(mixing.asked(vars(recipe)))):
                continue
            ways = tabled.setdefault(network, " and ".join(mixed))
            names = [[one] if isinstance(one, str) else one for one in block.methods]
            for name in dict.fromkeys(one for each in names for one in each):
                for title in _labelled(sound, name):
                    yield (
                        f"experiments[{index}].methods: {name}: {title} looks at the label of each "
                        f"image, and {network} learns from images mixed by {ways}, which have two: "
                        f"set {ways} to null for it, or take terms that look at none "
                        f"({listed(_blind())})"
                    )
    if tabled and sound.content.get("teacher_outputs") == "table":
        network, mixed = next(iter(tabled.items()))
        yield (
            f"teacher_outputs: table holds images as they are, and {network} learns from images "
            f"mixed by {mixed}: write live or auto, or set {mixed} to null for it"
        )


def _labelled(sound: Sound, name: str) -> Iterator[str]:
    """Titles of the terms at work in a method that look at labels, as each says of itself."""
    method = sound.methods.get(name)
    for key, term in methods.terms().items():
        if term.labelled and getattr(method, f"{key}_weight", 0):
            yield term.title
    card = sound.term_cards.get(name)
    if isinstance(card, TermCard) and card.labelled:
        yield card.title


def _blind() -> list[str]:
    return [f"{key}_weight" for key, term in methods.terms().items() if not term.labelled]


CHECK = Check(83, _mixing)

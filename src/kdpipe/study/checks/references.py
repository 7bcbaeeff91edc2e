"""Tables, figures and claims that are there, and the experiments and ensembles that they read."""

import re
from collections.abc import Iterator

from kdpipe.section import DOTTED
from kdpipe.study import asked, salvage
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import nearest, shown, twice


def _references(sound: Sound) -> Iterator[str]:
    for key, one, known in (
        ("tables", "table", asked.tables()),
        ("figures", "figure", ()),
        ("claims", "claim", asked.claims()),
    ):
        for name, reads in salvage.items(sound.content.get(key)):
            own = key != "claims" and re.fullmatch(DOTTED, str(name)) is not None
            if key == "figures" and not own:
                yield (
                    f"figures: {shown(name)}: a figure of your own is wanted, as module.FIGURE; "
                    "those of kdpipe are drawn unasked"
                )
            elif name not in known and not own:
                guess = nearest(name, known)
                names = ", ".join(known)
                yield f"{key}: there is no {one} {shown(name)}{guess} (known: {names})"
            for source in reads if isinstance(reads, list) else ():
                if isinstance(source, str):
                    yield from sound.follow(f"{key}.{name}", source, "experiment or ensemble")

    primary = sound.content.get("primary")
    claims = list(asked.claims())
    for name in primary if isinstance(primary, list) else ():
        if isinstance(name, str) and name not in claims:
            guess = nearest(name, claims)
            yield f"primary: there is no claim {shown(name)}{guess} (known: {', '.join(claims)})"
    for name in twice(primary if isinstance(primary, list) else []):
        yield f"primary: {name} stands twice"


CHECK = Check(110, _references)

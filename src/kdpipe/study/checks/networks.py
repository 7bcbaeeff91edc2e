"""Networks of one's own: the folder of their code, and the card of each."""

import os
from collections.abc import Iterator

from kdpipe.errors import KdpipeError
from kdpipe.study.check import Check
from kdpipe.study.locations import has_own_code
from kdpipe.study.sound import Sound
from kdpipe.wording import shown


def _own_networks(sound: Sound) -> Iterator[str]:
    code = sound.content.get("code")
    if code is not None and not has_own_code(sound.content):
        yield "code: it is where networks, terms, tables or figures of one's own lie: none is named"
    elif isinstance(code, str) and not os.path.isdir(code):
        yield f"code: there is no folder {shown(code)}"
    for card in sound.own_cards.values():
        if isinstance(card, KdpipeError):
            yield str(card)


CHECK = Check(10, _own_networks)

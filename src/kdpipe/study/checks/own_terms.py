"""Terms of one's own: the card of each, and the keys that methods give it."""

from collections.abc import Iterator

from kdpipe.errors import KdpipeError
from kdpipe.learning.own.card import TermCard
from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound


def _own_terms(sound: Sound) -> Iterator[str]:
    for name, card in sound.term_cards.items():
        method = sound.methods[name]
        if isinstance(card, KdpipeError):
            yield str(card)
        elif isinstance(card, TermCard) and "term_keys" not in salvage.lost(method):
            for line in card.mistakes(method.term_keys):
                yield f"methods.{name}.term_keys.{line}"


CHECK = Check(75, _own_terms)

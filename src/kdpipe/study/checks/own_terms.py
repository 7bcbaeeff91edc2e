"""Terms of one's own: the card of each, and the keys that methods give it."""

import shlex
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
            mistakes = card.mistakes(method.term_keys)
            for line in mistakes:
                yield f"methods.{name}.term_keys.{line}"
            is_of_now = card.answers is not None
            if is_of_now and not mistakes and card.with_keys(method.term_keys) is None:
                yield (
                    f"methods.{name}.term_keys: {card.term} was not tried with these values yet, "
                    f"by which changed code is found out; type: kdpipe term "
                    f"{shlex.quote(sound.source)}"
                )


CHECK = Check(75, _own_terms)

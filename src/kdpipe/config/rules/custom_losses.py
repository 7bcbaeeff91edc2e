"""Custom loss terms: their cards, and the keys that methods pass to them."""

from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.errors import KdpipeError
from kdpipe.losses.custom.card import TermCard
from kdpipe.text import format_write_command


def _check_custom_losses(config: PartialConfig) -> Iterator[str]:
    """Check that each custom term has a card that knows the keys of its methods."""
    for name, card in config.term_cards.items():
        method = config.methods[name]
        if isinstance(card, KdpipeError):
            yield str(card)
        elif isinstance(card, TermCard) and "term_keys" not in partial_config.invalid_keys(method):
            errors = card.find_key_errors(method.term_keys)
            for line in errors:
                yield f"methods.{name}.term_keys.{line}"
            is_current = card.answers is not None
            if is_current and not errors and card.with_keys(method.term_keys) is None:
                yield (
                    f"methods.{name}.term_keys: {card.term} is not validated with these values "
                    "yet, which are needed to detect changed code; run: "
                    f"{format_write_command(config.source)}"
                )


RULE = Rule(75, _check_custom_losses)

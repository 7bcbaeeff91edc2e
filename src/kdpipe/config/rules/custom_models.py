"""Custom networks: the folder of their code, and their cards."""

import os
from collections.abc import Iterator

from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.paths import has_custom_code
from kdpipe.config.rule import Rule
from kdpipe.errors import KdpipeError
from kdpipe.text import format_value


def _check_custom_models(config: PartialConfig) -> Iterator[str]:
    """Check that the folder of custom code exists and each custom network has a card."""
    code = config.content.get("code")
    if code is not None and not has_custom_code(config.content):
        yield "code: only for custom networks, terms, tables or figures, and the study has none"
    elif isinstance(code, str) and not os.path.isdir(code):
        yield f"code: there is no folder {format_value(code)}"
    for card in config.custom_model_cards.values():
        if isinstance(card, KdpipeError):
            yield str(card)


RULE = Rule(10, _check_custom_models)

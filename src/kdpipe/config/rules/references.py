"""Tables, figures and claims, and the experiments and ensembles that they read."""

import re
from collections.abc import Iterator

from kdpipe.config import partial_config, paths
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.json_types import is_list
from kdpipe.pydantic_base import DOTTED_PATTERN
from kdpipe.text import did_you_mean, find_duplicates, format_value


def _check_references(config: PartialConfig) -> Iterator[str]:
    """Check that the tables, figures and claims of the report exist."""
    for key, noun, known in (
        ("tables", "table", paths.list_tables()),
        ("figures", "figure", ()),
        ("claims", "claim", paths.list_claims()),
    ):
        for name, sources in partial_config.iter_items(config.content.get(key)):
            is_custom = key != "claims" and re.fullmatch(DOTTED_PATTERN, str(name)) is not None
            if key == "figures" and not is_custom:
                yield (
                    f"figures: {format_value(name)}: give a custom figure as module.FIGURE; those "
                    "of kdpipe are always drawn"
                )
            elif name not in known and not is_custom:
                guess = did_you_mean(name, known)
                names = ", ".join(known)
                yield f"{key}: there is no {noun} {format_value(name)}{guess} (known: {names})"
            for source in sources if is_list(sources) else ():
                if isinstance(source, str):
                    yield from config.check_name(f"{key}.{name}", source, "experiment or ensemble")

    primary = config.content.get("primary")
    claims = list(paths.list_claims())
    for name in primary if is_list(primary) else ():
        if isinstance(name, str) and name not in claims:
            guess = did_you_mean(name, claims)
            yield (
                f"primary: there is no claim {format_value(name)}{guess} "
                f"(known: {', '.join(claims)})"
            )
    for name in find_duplicates(primary if is_list(primary) else []):
        yield f"primary: {name} is listed twice"


RULE = Rule(110, _check_references)

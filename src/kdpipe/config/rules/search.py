"""A search: blocks that can be searched, seeds to select by and fresh ones, one split."""

from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.schema import BlockConfig, SearchConfig
from kdpipe.json_types import is_list
from kdpipe.text import find_duplicates, join_names


def _check_search(config: PartialConfig) -> Iterator[str]:
    """Check a search and the keys that cannot be combined with it."""
    search, _ = partial_config.parse_lenient(SearchConfig, config.content.get("search"))
    if config.content.get("search") is None or search is None:
        return
    for name in search.blocks:
        yield from config.check_name("search.blocks", name, "experiment")
    for name in find_duplicates(search.blocks):
        yield f"search.blocks: {name} is listed twice"
    for name in dict.fromkeys(search.blocks):
        if (block := config.named_blocks.get(name)) is not None:
            yield from _check_block(config, block)
    yield from _check_seeds(config, search)
    for block in config.blocks.values():
        keys = [key for key in ("epochs", "train_size") if getattr(block, key) is not None]
        if keys:
            yield (
                f"search: cannot be combined with lists of lengths or sizes: remove "
                f"{' and '.join(keys)} of {block.name}"
            )
    if config.content.get("looks") is not None:
        yield (
            "search: cannot be combined with looks, since a search looks at results after every "
            "seed: remove one of the two"
        )
    splits = config.content.get("splits")
    if is_list(splits) and len(splits) > 1:
        yield f"search: requires a single split, and there are {len(splits)}: keep one"
    if search.latency is not None and config.content.get("export") is not True:
        yield "search.latency: it is measured on exported graphs: also set `export: true`"
    data, card = config.data_section.data, config.data_section.card
    if data is not None and card is not None and not card.count_validation(data.validation):
        yield "search: it selects on validation images: hold some out (data.validation)"


def _check_block(config: PartialConfig, block: BlockConfig) -> Iterator[str]:
    """Check that nothing depends on all cells of a searched block, since most are not run."""
    if block.seeds is not None:
        yield f"search.blocks: {block.name} has its own seeds: remove them"
    for name, ensemble in config.ensembles.items():
        if ensemble.block == block.name:
            yield (
                f"search.blocks: {block.name} is averaged by the ensemble {name}: remove one of "
                "the two"
            )
    for other in config.blocks.values():
        if block.name in (other.teachers or ()):
            yield f"search.blocks: {block.name} is a teacher in {other.name}: remove one of the two"
    for key in ("tables", "figures", "claims"):
        for name, sources in partial_config.iter_items(config.content.get(key)):
            if is_list(sources) and block.name in sources:
                yield (
                    f"{key}.{name}: {block.name} is searched, so most of its cells are not run; "
                    "remove it here, since the report always has a table of the search"
                )


def _check_seeds(config: PartialConfig, search: SearchConfig) -> Iterator[str]:
    """Check that seeds to select by are left besides the fresh ones."""
    seeds, fresh_count = config.seeds, search.fresh_seeds
    is_known = is_list(seeds) and "fresh_seeds" not in partial_config.invalid_keys(search)
    if is_known and len(seeds) <= fresh_count:
        yield (
            f"search.fresh_seeds: {fresh_count} of {len(seeds)} seeds "
            f"({join_names(map(str, seeds))}) leave none to select by: give the study more seeds"
        )


RULE = Rule(105, _check_search)

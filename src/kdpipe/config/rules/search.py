"""A search: blocks that can be searched, seeds to choose by and fresh ones, one split."""

from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.config.schema import BlockConfig, SearchConfig
from kdpipe.json_types import is_list
from kdpipe.text import find_duplicates, join_names


def _check_search(config: PartialConfig) -> Iterator[str]:
    """Check a search and the keys that do not go with one."""
    search, _ = partial_config.parse_lenient(SearchConfig, config.content.get("search"))
    if config.content.get("search") is None or search is None:
        return
    for name in search.blocks:
        yield from config.check_name("search.blocks", name, "experiment")
    for name in find_duplicates(search.blocks):
        yield f"search.blocks: {name} stands twice"
    for name in dict.fromkeys(search.blocks):
        if (block := config.named_blocks.get(name)) is not None:
            yield from _check_block(config, block)
    yield from _check_seeds(config, search)
    if config.content.get("looks") is not None:
        yield "search: a search looks after every seed, which looks cannot count: leave one out"
    splits = config.content.get("splits")
    if is_list(splits) and len(splits) > 1:
        yield f"search: its seeds are of one split, and there are {len(splits)}: leave one"
    if search.latency is not None and config.content.get("export") is not True:
        yield "search.latency: it is measured of graphs that ship: set `export: true` beside it"
    data, card = config.data_section.data, config.data_section.card
    if data is not None and card is not None and not card.count_validation(data.validation):
        yield "search: it chooses on validation images: hold some out (data.validation)"


def _check_block(config: PartialConfig, block: BlockConfig) -> Iterator[str]:
    """Check that nothing depends on all cells of a searched block, most of which are not run."""
    if block.seeds is not None:
        yield f"search.blocks: {block.name} has seeds of its own: leave those out"
    for name, ensemble in config.ensembles.items():
        if ensemble.block == block.name:
            yield f"search.blocks: {block.name} is averaged by the ensemble {name}: leave one out"
    for other in config.blocks.values():
        if block.name in (other.teachers or ()):
            yield f"search.blocks: {block.name} teaches in {other.name}: leave one of them out"
    for key in ("tables", "figures", "claims"):
        for name, sources in partial_config.iter_items(config.content.get(key)):
            if is_list(sources) and block.name in sources:
                yield (
                    f"{key}.{name}: {block.name} is searched, so most of its cells are not run; "
                    "the page has a table of the search without being asked: leave it out here"
                )


def _check_seeds(config: PartialConfig, search: SearchConfig) -> Iterator[str]:
    """Check that seeds to choose by are left beside the fresh ones."""
    seeds, fresh_count = config.seeds, search.fresh_seeds
    is_known = is_list(seeds) and "fresh_seeds" not in partial_config.invalid_keys(search)
    if is_known and len(seeds) <= fresh_count:
        yield (
            f"search.fresh_seeds: {fresh_count} of {len(seeds)} seeds "
            f"({join_names(map(str, seeds))}) leave none to choose by: give the study more seeds"
        )


RULE = Rule(105, _check_search)

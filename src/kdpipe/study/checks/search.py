"""A search: blocks that can be searched, seeds to choose by and fresh ones, one split."""

from collections.abc import Iterator

from kdpipe.study import salvage
from kdpipe.study.blocks import Block, Search
from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import listed, twice


def _search(sound: Sound) -> Iterator[str]:
    search, _ = salvage.part(Search, sound.content.get("search"))
    if sound.content.get("search") is None or search is None:
        return
    for name in search.blocks:
        yield from sound.follow("search.blocks", name, "experiment")
    for name in twice(search.blocks):
        yield f"search.blocks: {name} stands twice"
    for name in dict.fromkeys(search.blocks):
        if (block := sound.named_blocks.get(name)) is not None:
            yield from _block(sound, block)
    yield from _seeds(sound, search)
    if sound.content.get("looks") is not None:
        yield "search: a search looks after every seed, which looks cannot count: leave one out"
    splits = sound.content.get("splits")
    if isinstance(splits, list) and len(splits) > 1:
        yield f"search: its seeds are of one split, and there are {len(splits)}: leave one"
    if search.latency is not None and sound.content.get("export") is not True:
        yield "search.latency: it is measured of graphs that ship: set `export: true` beside it"
    data, card = sound.images.data, sound.images.card
    if data is not None and card is not None and not card.validated(data.validation):
        yield "search: it chooses on validation images: hold some out (data.validation)"


def _block(sound: Sound, block: Block) -> Iterator[str]:
    """A block whose cells may be missing: nothing else may rest on all of them."""
    if block.seeds is not None:
        yield f"search.blocks: {block.name} has seeds of its own: leave those out"
    for name, ensemble in sound.ensembles.items():
        if ensemble.block == block.name:
            yield f"search.blocks: {block.name} is averaged by the ensemble {name}: leave one out"
    for other in sound.blocks.values():
        if block.name in (other.teachers or ()):
            yield f"search.blocks: {block.name} teaches in {other.name}: leave one of them out"
    for key in ("tables", "figures", "claims"):
        for name, reads in salvage.items(sound.content.get(key)):
            if isinstance(reads, list) and block.name in reads:
                yield (
                    f"{key}.{name}: {block.name} is searched, so most of its cells are not run; "
                    "the page has a table of the search without being asked: leave it out here"
                )


def _seeds(sound: Sound, search: Search) -> Iterator[str]:
    seeds, fresh = sound.seeds, search.fresh_seeds
    known = isinstance(seeds, list) and "fresh_seeds" not in salvage.lost(search)
    if known and len(seeds) <= fresh:
        yield (
            f"search.fresh_seeds: {fresh} of {len(seeds)} seeds ({listed(map(str, seeds))}) leave "
            "none to choose by: give the study more seeds"
        )


CHECK = Check(105, _search)

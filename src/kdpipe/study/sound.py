"""The sound parts of a study, and the questions that its checks ask of them.

pydantic refuses a file as a whole; here each section is what is well formed in it, so that names
can be followed although something else is wrong. What a malformed section leaves unknown is
`lost`, and nothing is said that would rest on it. Every part is made when it is first asked for.
"""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from kdpipe.data import cards
from kdpipe.errors import KdpipeError
from kdpipe.learning import mixing
from kdpipe.learning.keys import Method, MethodKeys
from kdpipe.learning.own import card as term_card
from kdpipe.learning.own.card import TermCard
from kdpipe.learning.recipe import Recipe
from kdpipe.networks import catalogue
from kdpipe.networks.brought import taken
from kdpipe.networks.brought.fed import Seen
from kdpipe.networks.brought.taken import Taking
from kdpipe.networks.catalogue import Catalogue
from kdpipe.networks.family import USUAL
from kdpipe.networks.keys import OwnNetwork, Pretrained, Start
from kdpipe.networks.own.card import NetworkCard
from kdpipe.study import blocks, salvage, stops
from kdpipe.study.blocks import Block, Ensemble
from kdpipe.study.salvage import Images
from kdpipe.wording import listed, nearest

# What names lead to where a file leaves the section out, as `grammar.Study` has it.
DEFAULTS = {"methods": {"kd": {}}}
# Stands in for a recipe that is itself malformed, while changes to it are checked.
ANY_RECIPE = {"epochs": 100_000, "batch_size": 64, "lr": 0.1}


class Sound:
    """What is sound in the content of a study file, a mapping whose paths are absolute.

    `source` is the file to be named in a message. Unless `carded`, networks of one's own need no
    cards.
    """

    def __init__(self, content: dict, source: str, carded: bool = True):
        self.content = DEFAULTS | content
        self.source = source
        self.carded = carded
        self._recipes: dict[str, Recipe | None] = {}

    # --- its sections

    @property
    def seeds(self) -> Any:
        """The study's seeds, as they stand in the file."""
        return self.content.get("seeds")

    @property
    def splits(self) -> list:
        """The study's splits, as far as they are a list."""
        splits = self.content.get("splits", [0])
        return splits if isinstance(splits, list) else [0]

    @cached_property
    def images(self) -> Images:
        return salvage.images(self.content.get("data"))

    @property
    def card(self) -> cards.Card | None:
        """The card of the study's own images, if it is known."""
        return self.images.card

    @cached_property
    def _recipe(self) -> tuple[Recipe | None, bool]:
        return salvage.part(Recipe, self.content.get("recipe"))

    @cached_property
    def methods(self) -> dict[str, MethodKeys]:
        return salvage.parts(Method, self.content.get("methods"))

    @cached_property
    def ensembles(self) -> dict[str, Ensemble]:
        return salvage.parts(Ensemble, self.content.get("ensembles"))

    @cached_property
    def pretrained(self) -> dict[str, Pretrained]:
        return salvage.parts(Pretrained, self.content.get("pretrained"))

    @cached_property
    def starts(self) -> dict[str, Start]:
        found = salvage.parts(Start, self.content.get("starts"))
        return {name: start for name, start in found.items() if start.network is not None}

    @cached_property
    def seen(self) -> Seen | None:
        """Images and classes of the study, if they are known."""
        return self.card and Seen(self.card.shape, self.card.classes, self.card.class_names)

    @cached_property
    def feeding(self) -> taken.Feeding:
        """What pretrained networks are fed with, as far as that is known."""
        sound = {name: one for name, one in self.pretrained.items() if not salvage.lost(one)}
        return taken.feeding(sound, self.seen, strictly=False) if self.seen else {}

    @cached_property
    def blocks(self) -> dict[int, Block]:
        """The experiments, by their place in the file."""
        return salvage.parts(Block, dict(enumerate(self._experiments)))

    @cached_property
    def named_blocks(self) -> dict[str, Block]:
        """The experiments that can be named; `self` is refused as a name and means none."""
        named = {block.name: block for block in self.blocks.values() if block.name}
        return {name: block for name, block in named.items() if name != "self"}

    @property
    def _experiments(self) -> list:
        experiments = self.content.get("experiments")
        return experiments if isinstance(experiments, list) else []

    @cached_property
    def own_cards(self) -> dict[Taking, NetworkCard | KdpipeError | None]:
        """Of each network of one's own, for what it takes, the card, or what is wrong with it.

        None where that cannot be said, or where no cards are wanted.
        """
        parts = salvage.parts(OwnNetwork, self.content.get("networks"))
        sound = {name: network for name, network in parts.items() if not salvage.lost(network)}
        code = self.content.get("code")
        if self.seen is None or not isinstance(code, str):
            return {}
        starts = self.starts.values()
        named = blocks.named(self.blocks.values(), self.ensembles.values(), starts)
        takings = taken.own(sound, self.feeding, named, self.seen)
        if not self.carded or not os.path.isdir(code):
            return dict.fromkeys(takings)
        return catalogue.sought(sound, Path(code), takings, self.source)

    @cached_property
    def term_cards(self) -> dict[str, TermCard | KdpipeError | None]:
        """Of each method that names a term of one's own its card, or what is wrong with it.

        None where no cards are wanted, or where the folder of the code is not known.
        """
        code = self.content.get("code")
        found: dict = {}
        for name, method in self.methods.items():
            if method.term is not None and "term" not in salvage.lost(method):
                found[name] = None
                if self.carded and isinstance(code, str) and os.path.isdir(code):
                    where = f"methods.{name}.term"
                    try:
                        found[name] = term_card.find(Path(code), method.term, where, self.source)
                    except KdpipeError as error:
                        found[name] = error
        return found

    @cached_property
    def networks(self) -> Catalogue:
        """The networks that can be named."""
        # What any network takes is the best guess where the images are not known.
        seen = self.seen or Seen(USUAL, 0)
        names = salvage.keys(self.content.get("networks"))
        cards = {Taking(name, seen.shape, seen.classes): None for name in names}
        cards |= {
            one: c if isinstance(c, NetworkCard) else None for one, c in self.own_cards.items()
        }
        return catalogue.assembled(cards, seen.shape, seen.classes, self.feeding, self.starts)

    # --- its names

    @cached_property
    def defined(self) -> dict[str, dict[str, None]]:
        """By kind the names that are defined, be what they name sound or not."""
        names = {
            "method": salvage.keys(self.content.get("methods")),
            "experiment": dict.fromkeys(self._block_names),
            "ensemble": salvage.keys(self.content.get("ensembles")),
            "pretrained": salvage.keys(self.content.get("pretrained")),
        }
        return names | {"experiment or ensemble": names["experiment"] | names["ensemble"]}

    @cached_property
    def lost(self) -> dict[str, bool]:
        """By kind whether it is unknown which names are defined."""
        all_named = len(self._block_names) == len(self._experiments)
        lost = {
            "method": not isinstance(self.content.get("methods"), dict),
            "experiment": not (all_named and isinstance(self.content.get("experiments"), list)),
            "ensemble": not isinstance(self.content.get("ensembles", {}), dict),
            "pretrained": not isinstance(self.content.get("pretrained", {}), dict),
        }
        return lost | {"experiment or ensemble": lost["experiment"] or lost["ensemble"]}

    @cached_property
    def _block_names(self) -> list[str]:
        blocks = [block for block in self._experiments if isinstance(block, dict)]
        return [block["name"] for block in blocks if isinstance(block.get("name"), str)]

    # --- what its keys mean

    def recipe_with(self, change: dict) -> dict:
        """The study's recipe with the changes for one network, not validated."""
        recipe, is_sound = self._recipe
        return {**(recipe.model_dump() if recipe and is_sound else ANY_RECIPE), **change}

    def recipe_of(self, network: str) -> Recipe | None:
        """How a network is trained, as far as that is known."""
        if network not in self._recipes:
            changes = dict(salvage.items(self.content.get("network_recipes"))).get(network)
            if isinstance(changes, dict) and changes.keys() & {"epochs", "annealing", *mixing.KEYS}:
                self._recipes[network], _ = salvage.part(Recipe, self.recipe_with(changes))
            else:
                self._recipes[network], _ = self._recipe
        return self._recipes[network]

    def epochs_of(self, network: str) -> int | None:
        """How long a network trains, as far as that is known."""
        recipe = self.recipe_of(network)
        return recipe.epochs if recipe else None

    def stops_of(self, text: str, network: str) -> int:
        """How many stops a text means for a network; 1 where it means none, which is a mistake."""
        try:
            return stops.count(text, self.epochs_of(network) or 1)
        except KdpipeError:
            return 1

    def head(self, teacher: str, student: str) -> str | None:
        """The network that teaches a student under a name; None of ensembles, or if not known.

        One with an input of its own is known by the name that the study gives it.
        """
        if teacher in self.defined["ensemble"]:
            return None
        if teacher in self.defined["experiment"]:
            block = self.named_blocks.get(teacher)
            return next(iter(block.students), None) if block else None
        if teacher in self.defined["pretrained"]:
            source = self.pretrained.get(teacher)
            return teacher if teacher in self.feeding else source.network if source else None
        return student if teacher == "self" else teacher

    # --- names followed: a message for each that leads nowhere

    def follow(self, where: str, name: str | None, kind: str) -> Iterator[str]:
        """A name of a kind of `defined`."""
        known = self.defined[kind]
        if name is not None and name not in known and not self.lost[kind]:
            guess = nearest(name, known)
            yield f"{where}: there is no {kind} {name}{guess} (defined: {listed(known)})"

    def follow_network(self, where: str, name: str) -> Iterator[str]:
        """A network, which must take the study's images."""
        try:
            self.networks.check(str(name))
        except KdpipeError as error:
            yield f"{where}: {error}"

    def follow_stop(self, where: str, text: str, network: str) -> Iterator[str]:
        """A stop, which must lie within the training of its network."""
        recipe = self.recipe_of(network)
        if recipe and recipe.epochs is not None and network in self.networks:
            try:
                stops.count(text, recipe.epochs)
            except KdpipeError as error:
                yield f"{where}: {error} (network {network})"
            else:
                if "/" in text and recipe.annealing in ("cosine", "one-cycle"):
                    whole = text.split("/")[-1]
                    yield (
                        f"{where}: {text} drops in steps, and {network} has annealing: "
                        f"{recipe.annealing}; write schedule {whole}"
                    )

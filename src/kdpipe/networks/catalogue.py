"""The networks that a study can name: those known by the form of their name, and its own.

Imports no torch: of a network of one's own it knows what its card says. One whose card is not
there yet can be named; its cost cannot be asked for.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kdpipe.errors import KdpipeError
from kdpipe.networks import naming
from kdpipe.networks.brought import start, taken
from kdpipe.networks.brought.fed import Fed, Seen
from kdpipe.networks.brought.taken import Feeding, Taking
from kdpipe.networks.family import USUAL, Cost, Shape
from kdpipe.networks.keys import OwnNetwork, Start
from kdpipe.networks.own import card as network_card
from kdpipe.networks.own.card import NetworkCard
from kdpipe.wording import listed, nearest


@dataclass(frozen=True)
class Catalogue:
    """For images of `shape` (channels, height, width); of the usual one if it is not known."""

    shape: Shape = USUAL
    classes: int = 0
    own: dict[str, NetworkCard | None] = field(default_factory=dict)  # None: it has no card
    # Of networks with weights and an input of their own, under the names that a study gives them:
    # what is fed to which network, and the catalogue for that.
    fed: "Mapping[str, tuple[Fed, str, Catalogue]]" = field(default_factory=dict)
    starts: Mapping[str, Start] = field(default_factory=dict)  # those that begin from weights

    def __contains__(self, name: object) -> bool:
        return name in self.starts or name in self.own or naming.is_known(str(name))

    def built(self, name: str) -> str:
        """The network that is built under a name: the one of a start, or the name itself."""
        return self.starts[name].network if name in self.starts else name

    def check(self, name: str) -> None:
        """Raise KdpipeError unless the network exists and takes the images."""
        name = self.built(name)
        if name in self.own:
            return
        try:
            naming.check(name, self.shape)
        except KdpipeError as error:
            others = [*self.own, *self.starts]
            if not others or naming.is_known(name):
                raise
            names = f"{listed(others)}{nearest(name, others)}"
            raise KdpipeError(f"{error}; of one's own: {names}") from None

    def cost(self, name: str) -> Cost:
        """The exact cost of classifying one image."""
        name = self.built(name)
        if name in self.fed:
            _, network, inside = self.fed[name]
            return inside.cost(network)
        if name not in self.own:
            return naming.cost(name, self.shape, self.classes)
        card = self._carded(name)
        return Cost(card.parameters, card.multiply_adds)

    def group_shapes(self, name: str) -> list[Shape] | None:
        """(channels, height, width) of what each group puts out; None if it is not known."""
        name = self.built(name)
        if name in self.fed:
            _, network, inside = self.fed[name]
            return inside.group_shapes(network)
        if name not in self.own:
            return naming.group_shapes(name, self.shape)
        card = self.own[name]
        return list(card.groups) if card else None

    def fewest(self, name: str) -> int:
        """How few images a network learns from at once, as far as that is known.

        Batch normalisation of what is 1 x 1 needs two.
        """
        name = self.built(name)
        if name in self.own:
            card = self.own[name]
            return card.fewest if card else 1
        try:
            groups = naming.group_shapes(name, self.shape)
        except KdpipeError:  # said of the network
            return 1
        return 2 if groups and groups[-1][1:] == (1, 1) else 1

    def is_linear(self, name: str) -> bool:
        """Whether a network ends in a linear classifier, as far as that is known."""
        name = self.built(name)
        if name in self.fed:
            _, network, inside = self.fed[name]
            return inside.is_linear(network)
        if name in self.own:
            card = self.own[name]
            return card is None or card.linear
        return naming.is_linear(name)

    def spec(self, name: str) -> dict:
        """The `network` of the spec of a run: all that a job must know to build it."""
        if name in self.starts:
            begun = {"name": name, "start": start.spec(self.starts[name])}
            return self.spec(self.built(name)) | begun
        if name in self.fed:
            given, network, inside = self.fed[name]
            ours = {"classes": self.classes, "channels": self.shape[0]}
            return inside.spec(network) | ours | {"input": given.spec()}
        if name in self.own:
            return self._carded(name).spec()
        return {
            "name": name,
            "revision": naming.revision(name),
            "classes": self.classes,
            "channels": self.shape[0],
        }

    def _carded(self, name: str) -> NetworkCard:
        card = self.own[name]
        if card is None:
            raise KdpipeError(f"networks.{name}: it has no card")
        return card


def of(
    own: Mapping[str, OwnNetwork],
    code: str | None,
    data: Seen,
    feeding: Feeding,
    named: Collection[str],
    starts: Mapping[str, Start],
) -> Catalogue:
    """The networks of a study: by name, and those of one's own whose cards lie in `code`.

    named: those that see the study's images; starts: those that begin from weights. Raises
    KdpipeError for one that has no card.
    """
    folder = Path(code or "")
    cards: dict[Taking, NetworkCard | None] = {
        one: network_card.find(folder, one.name, own[one.name], one.shape, one.classes, "STUDY")
        for one in taken.own(own, feeding, named, data)
    }
    return assembled(cards, data.shape, data.classes, feeding, starts)


def sought(
    own: Mapping[str, OwnNetwork], folder: Path, takings: Iterable[Taking], study: str
) -> dict[Taking, NetworkCard | KdpipeError | None]:
    """Of each network of one's own, for what it takes, the card, or what is wrong with it."""
    found: dict[Taking, NetworkCard | KdpipeError | None] = {}
    for one in takings:
        try:
            images = one.shape, one.classes
            found[one] = network_card.find(folder, one.name, own[one.name], *images, study)
        except KdpipeError as error:
            found[one] = error
    return found


def assembled(
    cards: Mapping[Taking, NetworkCard | None],
    shape: Shape,
    classes: int,
    feeding: Feeding,
    starts: Mapping[str, Start],
) -> Catalogue:
    """A catalogue with these cards of networks of one's own, None where one has none."""

    def made_for(shape: Shape, classes: int) -> dict[str, NetworkCard | None]:
        found = {each: card for each, card in cards.items() if each[1:] == (shape, classes)}
        return {each.name: card for each, card in found.items()}

    fed = {
        label: (given, network, Catalogue(*images, made_for(*images)))
        for label, (given, network) in feeding.items()
        for images in [(given.shape, given.classes)]
    }
    return Catalogue(shape, classes, made_for(shape, classes), fed, starts)

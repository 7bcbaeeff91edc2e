"""Networks of one's own and their cards: made, and compared with what the code is now.

`make_cards` writes what a trial of each network finds; `compare` tries it again and sees whether
it has changed since. All mistakes of a study's networks are in one answer.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kdpipe.errors import KdpipeError, StudyError
from kdpipe.networks.brought.taken import Taking
from kdpipe.networks.keys import OwnNetwork
from kdpipe.networks.own import answer, on_a_gpu
from kdpipe.networks.own import card as network_card
from kdpipe.networks.own.card import NetworkCard
from kdpipe.networks.own.trial import tried
from kdpipe.results.files import write_json

SHOWN = 6


@dataclass(frozen=True)
class Own:
    """A study's own networks: the images they take, where their code and their cards lie."""

    source: str  # the study's file, as messages name it
    networks: dict[str, OwnNetwork]
    code: str | None
    takings: list[Taking]
    on_gpus: bool = False  # whether they may run there

    def place(self, one: Taking) -> Path:
        return network_card.place(Path(self.code or ""), *one)


def make_cards(own: Own) -> list[str]:
    """Write the card of every network of the study's own; a line for each. Raises StudyError."""
    if not own.networks:
        raise StudyError(f"{own.source}: there are no networks of your own in it (key networks)")
    lines = []
    for card in _each(own, _kept):
        path = own.place(Taking(card.name, card.shape, card.classes))
        renamed = _said_nothing_of_groups(path) and card.of_groups
        write_json(path, network_card.sealed(card))
        line = (
            f"{path}: {card.build} for {' x '.join(map(str, card.shape))} in {card.classes} "
            f"classes: {card.parameters:,} parameters, {card.multiply_adds:,} multiply-adds"
        )
        if card.random:
            line += "; it draws at random in training (dropout)"
        if card.groups:
            line += f"; {len(card.groups)} group outputs"
        if renamed:
            line += ", which its old card did not hold: its runs get other names, and are made anew"
        if not card.linear:
            line += "; it does not end in a linear classifier: no probe can be made of it"
        lines.append(line)
    return lines


def compare(own: Own) -> None:
    """Raise StudyError if a network of the study's own fails, or is not what its card says."""
    _each(own, lambda card, path: _unchanged(card, path, own.source))


def _each(own: Own, look: Callable[[NetworkCard, Path], NetworkCard]) -> list[NetworkCard]:
    """Try every network of a study's own, and look at its old card; all mistakes in one answer."""
    code = Path(own.code) if own.code else None
    found, mistakes = [], []
    for one in own.takings:
        try:
            network = own.networks[one.name]
            card = tried(one.name, network, one.shape, one.classes, code)
            if own.on_gpus:
                on_a_gpu.refuse(card, code)
            found.append(look(card, own.place(one)))
        except KdpipeError as error:
            mistakes.append(str(error))
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise StudyError("\n  ".join([f"{own.source}: {count}", *mistakes]))
    return found


def _kept(card: NetworkCard, path: Path) -> NetworkCard:
    """The card to be written: with the old answer where the two agree, since it is in the names of
    runs and machines round differently. Refuses two computations under one revision.
    """
    try:
        old = network_card.read(path, "", wants_seal=False)
    except KdpipeError:
        return card
    if old.spec() | {"answer": None} != card.spec() | {"answer": None}:
        return card
    if not _agree(old, card):
        raise KdpipeError(
            f"networks.{card.name}.revision: {card.build} computes something else than under the "
            f"same revision before: raise it (or remove {path}, if nothing was trained with it)"
        )
    groups = card.of_groups  # as old as the answer that they stand beside
    if card.random and not old.trained:
        groups = groups[: len(groups) // 2]
    elif card.other is not None and answer.agree(old.trained, card.other[0]):
        groups = card.other[1]
    kept = old.of_groups or groups
    return replace(card, answer=old.answer, trained=old.trained, of_groups=kept)


def _said_nothing_of_groups(path: Path) -> bool:
    """Whether there is a card of an earlier version, by which runs were named."""
    try:
        return not network_card.read(path, "", wants_seal=False).of_groups
    except KdpipeError:
        return False


def _unchanged(card: NetworkCard, path: Path, source: str) -> NetworkCard:
    if lines := _differences(
        network_card.read(path, f"type: kdpipe network {shlex.quote(source)}"), card
    ):
        raise KdpipeError(
            f"networks.{card.name}.build: {card.build} is not what its card says "
            f"({'; '.join(lines)}): if that is meant, raise networks.{card.name}.revision and "
            f"type: kdpipe network {shlex.quote(source)}"
        )
    return card


def _agree(old: NetworkCard, new: NetworkCard) -> bool:
    said = answer.Answer(new.answer, new.trained, new.of_groups, new.random, new.other)
    return answer.compares(old.spec()["answer"], said)


def _differences(old: NetworkCard, new: NetworkCard) -> list[str]:
    lines = [
        f"{key} {getattr(old, key)} -> {getattr(new, key)}"
        for key in ("parameters", "multiply_adds", "layout", "random", "linear", "groups")
        if getattr(old, key) != getattr(new, key)
    ]
    for key in sorted(old.state.keys() | new.state.keys()):
        before, now = old.state.get(key, "not there"), new.state.get(key, "not there")
        if before != now:
            lines.append(f"{key} {before} -> {now}")
    if not lines and not _agree(old, new):
        lines = ["it computes something else with the same parameters"]
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return lines[:SHOWN] + more

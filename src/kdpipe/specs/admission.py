"""What a job takes as a spec: one that this version means the same by, and that stays in its place.

A spec comes from the plan, but also from a queue that is older than the code, or from a keyboard.
Names of folders are made from it, and files are looked up by it: nothing of it may point out of
the results folder.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from kdpipe.data import cards
from kdpipe.errors import KdpipeError
from kdpipe.learning import method as methods
from kdpipe.learning import mixing
from kdpipe.learning.own import card as term_card
from kdpipe.learning.recipe import Recipe
from kdpipe.networks import naming
from kdpipe.networks.brought import fed, start
from kdpipe.networks.own import card as network_card
from kdpipe.results import readings
from kdpipe.specs import revisions
from kdpipe.specs.made import NAMES

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def name_of(kind: str, spec: dict, digest: str) -> str:
    """The name of the folder of a job of this kind: run, ensemble, table, probe, gauge.

    Raises KdpipeError for a spec that no such job can be done by.
    """
    terms = _TERMS[kind]
    try:
        name = NAMES[kind](spec, digest)
        members = terms.members(spec)
        terms.check(name, spec)
        _check_plain(name, members)
        if "data" in spec:
            _check_data(name, spec["data"])
        revisions.check(name, spec, terms.revisions)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        article = "an" if kind == "ensemble" else "a"
        raise KdpipeError(f"--spec is not the spec of {article} {kind} ({error!r})") from None
    return name


def check_checkpoints(keep: list[int], spec: dict) -> None:
    """Refuse checkpoints that the training never passes."""
    epochs = spec["recipe"]["epochs"]
    if outside := [epoch for epoch in keep if not 0 <= epoch <= epochs]:
        raise KdpipeError(f"--keep: {outside} not within 0 and {epochs}, the epochs of the run")


def _check_run(name: str, spec: dict) -> None:
    _check_network(spec["network"])
    for member in _taught_by(spec):
        # What a parent is, is said in its own record; here its name must be that of a network.
        if not network_card.NAME.fullmatch(member["network"]):
            naming.parse(member["network"])
    # A network that brings its weights is trained for no epoch.
    untrained = {"epochs": 1} if spec.get("pretrained") else {}
    Recipe.model_validate({**spec["recipe"], **untrained})
    if spec["teacher"]:
        _check_method(spec["method"])
        if mixing.asked(spec["recipe"]) and spec["teacher"]["outputs"] != "live":
            raise KdpipeError(f"{name}: of mixed images no table has its teacher's outputs")


def _check_ensemble(name: str, spec: dict) -> None:
    if not spec["members"]:
        raise KdpipeError("--spec names an ensemble of nothing")


def _check_table(name: str, spec: dict) -> None:
    _check_network(spec["network"])
    _check_threads(name, spec)
    if spec["precision"] not in ("float16", "float32"):
        raise KdpipeError(f"{name}: precision is float16 or float32")


def _check_probe(name: str, spec: dict) -> None:
    _check_network(spec["network"])
    _check_threads(name, spec)
    if spec["data"]["validation"] < 1 or spec["data"]["train_size"] < 1:
        raise KdpipeError(f"{name}: a probe needs images to train on and to choose by")


def _check_gauge(name: str, spec: dict) -> None:
    _check_network(spec["network"])
    _check_threads(name, spec)
    if spec["reading"] not in readings.READINGS:
        raise KdpipeError(f"{name}: reading is one of {', '.join(readings.READINGS)}")


def _check_method(method: dict) -> None:
    """A term of the loss that counts states its revision; one of one's own is well formed."""
    methods.check_revisions(method)
    if (own := method.get(methods.OWN)) is not None and not term_card.is_sound(own):
        raise KdpipeError(f"--spec names no term of one's own: {own!r}")


def _taught_by(spec: dict) -> list[dict]:
    return spec["teacher"]["members"] if spec["teacher"] else []


@dataclass(frozen=True)
class _Terms:
    """On which a spec of one kind is taken."""

    members: Callable[[dict], list[dict]]  # the runs that it names by digest and epoch
    revisions: tuple[str, ...]  # what it must state a revision of
    check: Callable[[str, dict], None]  # what no other kind asks


_TERMS = {
    "run": _Terms(_taught_by, ("training", "evaluation", "views", "split"), _check_run),
    "ensemble": _Terms(lambda spec: spec["members"], ("ensemble", "evaluation"), _check_ensemble),
    "table": _Terms(lambda spec: [spec], ("table", "views", "split"), _check_table),
    "probe": _Terms(lambda spec: [spec], ("probe", "views", "split"), _check_probe),
    "gauge": _Terms(lambda spec: [spec], ("gauge", "evaluation", "split"), _check_gauge),
}


def _check_network(network: dict) -> None:
    if "input" in network and not fed.is_sound(network):
        raise KdpipeError(f"--spec names no images that a network wants: {network['input']!r}")
    if "start" in network and not start.is_sound(network):
        raise KdpipeError(f"--spec names no weights that a network begins from: {network!r}")
    network = fed.inner(network)
    if "build" not in network:
        naming.parse(network["name"])
    elif not network_card.is_sound(network):
        raise KdpipeError(f"--spec names no network of one's own by name and build: {network!r}")


def _check_threads(name: str, spec: dict) -> None:
    if type(spec["threads"]) is not int or not 1 <= spec["threads"] <= 256:
        raise KdpipeError(f"{name}: threads are a number from 1 to 256")


def _check_plain(name: str, members: list[dict]) -> None:
    if not _NAME.fullmatch(name):
        raise KdpipeError(f"--spec makes the name {name[:80]!r}, which is no plain name")
    for member in members:
        if not _DIGEST.fullmatch(member["run"]) or type(member["epoch"]) is not int:
            raise KdpipeError("--spec names a member that is not (digest, epoch)")


def _check_data(name: str, data: dict) -> None:
    known = cards.load(data["name"]).sha256 if data["name"] in cards.known() else data["card"]
    if known != data["card"]:
        raise KdpipeError(f"{name}: its data set is not one whose card this version has")
    if not (_NAME.fullmatch(str(data["name"])) and _DIGEST.fullmatch(str(known))):
        raise KdpipeError(f"{name}: --spec names no data set by name and digest")

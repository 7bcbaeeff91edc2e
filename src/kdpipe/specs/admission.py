"""What a job takes as a spec: one that this version means the same by, and that stays in its place.

A spec comes from the plan, but also from a queue that is older than the code, or from a keyboard.
Names of folders are made from it, and files are looked up by it: nothing of it may point out of
the results folder.
"""

import re

from pydantic import ValidationError

from kdpipe import identity
from kdpipe.data import cards
from kdpipe.errors import KdpipeError
from kdpipe.learning import method
from kdpipe.learning.own import card as term_card
from kdpipe.learning.recipe import Recipe
from kdpipe.networks import naming
from kdpipe.networks.own import card as network_card
from kdpipe.specs.made import ensemble_name, probe_name, run_name, table_name

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def name_of_run(spec: dict, digest: str) -> str:
    """The name of a run's folder. Raises KdpipeError for a spec that must not be trained."""
    try:
        name = run_name(spec, digest)
        members = spec["teacher"]["members"] if spec["teacher"] else []
        revisions = _revisions(spec)
        _check_networks(spec["network"], [member["network"] for member in members])
        # A network that brings its weights is trained for no epoch.
        untrained = {"epochs": 1} if spec.get("pretrained") else {}
        Recipe.model_validate({**spec["recipe"], **untrained})
        _plain(name, members)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise KdpipeError(f"--spec is not the spec of a run ({error!r})") from None
    _check_data(name, spec["data"])
    _check_revisions(name, revisions)
    return name


def name_of_ensemble(spec: dict, digest: str) -> str:
    """The name of an ensemble's folder. Raises KdpipeError for a spec that must not be scored."""
    try:
        name = ensemble_name(spec, digest)
        _plain(name, spec["members"])
        if not spec["members"]:
            raise KdpipeError("--spec names an ensemble of nothing")
    except (KeyError, TypeError, AttributeError) as error:
        raise KdpipeError(f"--spec is not the spec of an ensemble ({error!r})") from None
    return name


def name_of_table(spec: dict, digest: str) -> str:
    """The name of a table's folder. Raises KdpipeError for a spec that no table is made of."""
    try:
        name = table_name(spec, digest)
        revisions = _shared_revisions(spec) | {
            "table": (spec["revision"], identity.REVISIONS["table"])
        }
        _check_networks(spec["network"], [])
        _plain(name, [spec])
        _check_threads(name, spec)
        if spec["precision"] not in ("float16", "float32"):
            raise KdpipeError(f"{name}: precision is float16 or float32")
        _check_data(name, spec["data"])
    except (KeyError, TypeError, AttributeError) as error:
        raise KdpipeError(f"--spec is not the spec of a table ({error!r})") from None
    _check_revisions(name, revisions)
    return name


def name_of_probe(spec: dict, digest: str) -> str:
    """The name of a probe's folder. Raises KdpipeError for a spec that must not be probed."""
    try:
        name = probe_name(spec, digest)
        revisions = _shared_revisions(spec) | {
            "probe": (spec["revision"], identity.REVISIONS["probe"])
        }
        _check_networks(spec["network"], [])
        _plain(name, [spec])
        _check_threads(name, spec)
        if spec["data"]["validation"] < 1 or spec["data"]["train_size"] < 1:
            raise KdpipeError(f"{name}: a probe needs images to train on and to choose by")
        _check_data(name, spec["data"])
    except (KeyError, TypeError, AttributeError) as error:
        raise KdpipeError(f"--spec is not the spec of a probe ({error!r})") from None
    _check_revisions(name, revisions)
    return name


def check_checkpoints(keep: list[int], spec: dict) -> None:
    """Refuse checkpoints that the training never passes."""
    epochs = spec["recipe"]["epochs"]
    if outside := [epoch for epoch in keep if not 0 <= epoch <= epochs]:
        raise KdpipeError(f"--keep: {outside} not within 0 and {epochs}, the epochs of the run")


def _check_networks(network: dict, parents: list[str]) -> None:
    """What a parent is, is said in its own record; here its name must be that of a network."""
    if "build" not in network:
        naming.parse(network["name"])
    elif not network_card.is_sound(network):
        raise KdpipeError(f"--spec names no network of one's own by name and build: {network!r}")
    for name in parents:
        if not network_card.NAME.fullmatch(name):
            naming.parse(name)


def _check_threads(name: str, spec: dict) -> None:
    if type(spec["threads"]) is not int or not 1 <= spec["threads"] <= 256:
        raise KdpipeError(f"{name}: threads are a number from 1 to 256")


def _plain(name: str, members: list[dict]) -> None:
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


def _check_revisions(name: str, revisions: dict[str, tuple[object, int]]) -> None:
    for key, (wanted, ours) in revisions.items():
        if wanted != ours:
            raise KdpipeError(
                f"{name}: its spec means revision {wanted} of {key}, this version computes "
                f"revision {ours}: make the plan again"
            )


def _shared_revisions(spec: dict) -> dict[str, tuple[object, int]]:
    """Of the data and the network: for each behaviour the revision a spec means, and ours."""
    data, network = spec["data"], spec["network"]
    ours = identity.REVISIONS
    found: dict[str, tuple[object, int]] = {
        f"data set {data['name']}": (data["revision"], cards.data_revision(data["name"])),
        "views": (data["views"]["revision"], ours["views"]),
        "split": (data["split_revision"], ours["split"]),
    }
    if "build" not in network:
        family = naming.family(network["name"])
        found[family] = (network["revision"], naming.REVISIONS[family])
    if data.get("stream_revision") is not None:
        found["stream"] = (data["stream_revision"], ours["stream"])
    return found


def _revisions(spec: dict) -> dict[str, tuple[object, int]]:
    """For each behaviour the revision that a run's spec means, and ours."""
    ours = identity.REVISIONS
    found = _shared_revisions(spec)
    found |= {key: (value, ours[key]) for key, value in spec["revision"].items()}
    if spec["teacher"]:
        for name, wanted, known in method.revisions(spec["method"]):
            found[name] = (wanted, known)
        if (own := spec["method"].get(method.OWN)) is not None and not term_card.is_sound(own):
            raise KdpipeError(f"--spec names no term of one's own: {own!r}")
        found |= {key: (value, ours[key]) for key, value in spec["teacher"]["revision"].items()}
    return found

"""TODO specs.made, from identity."""

"""TODO specs.made, from plan."""

from kdpipe import identity
from kdpipe.data import cards
from kdpipe.data.keys import Data
from kdpipe.identity import REVISIONS


def run_name(spec: dict, digest: str) -> str:
    """`<network>-<what it learns from>-s<seed>-<12 hex>`: for people to read, never parsed."""
    return f"{spec['network']['name']}-{_lesson(spec)}-s{spec['seed']}-{digest[:12]}"


def ensemble_name(spec: dict, digest: str) -> str:
    """`ensemble-of-<members>-s<seed>-<12 hex>`."""
    return f"ensemble-of-{len(spec['members'])}-s{spec['seed']}-{digest[:12]}"


def probe_name(spec: dict, digest: str) -> str:
    """`<network>-on-<data>-s<seed>-<12 hex>`: a linear probe on another data set."""
    return f"{spec['network']['name']}-on-{spec['data']['name']}-s{spec['seed']}-{digest[:12]}"


def table_name(spec: dict, digest: str) -> str:
    """`<network>-e<epoch>-<12 hex>`: the outputs of one teacher checkpoint."""
    return f"{spec['network']['name']}-e{spec['epoch']}-{digest[:12]}"


def table_spec(run: dict, digest: str, epoch: int, precision: str) -> dict:
    """The spec of a teacher table: of the run with this spec and digest, after `epoch`."""
    return {
        "kind": "table",
        "revision": REVISIONS["table"],
        "data": run["data"],
        "network": run["network"],
        "run": digest,
        "epoch": epoch,
        "precision": precision,
        "threads": run["recipe"]["threads"],
    }


def _lesson(spec: dict) -> str:
    teacher = spec["teacher"]
    if spec.get("pretrained"):
        return "pretrained"
    if teacher is None:
        member = f"-m{spec['member']}" if spec["member"] else ""
        return f"labels-{spec['recipe']['epochs']}e{member}"
    networks = [member["network"] for member in teacher["members"]]
    if len(networks) == 1:
        return f"from-{networks[0]}-e{teacher['members'][0]['epoch']}"
    return f"from-{len(networks)}-networks"


def data_spec(data: Data, card: cards.Card) -> dict:
    """The `data` part of a spec: which images, and in which views."""
    return {
        "name": card.name,
        "card": card.sha256,
        "revision": cards.data_revision(card.name),
        "train_size": data.train_size or card.train - data.validation,
        "validation": data.validation,
        "label_noise": data.label_noise,
        "split_seed": data.split_seed,
        "split_revision": identity.REVISIONS["split"],
        "resize": data.resize,
        "mean": data.mean,
        "std": data.std,
        "stream_revision": identity.REVISIONS["stream"] if card.streamed else None,
        "views": {
            "pad": data.pad,
            "padding": data.padding,
            "flip": data.flip,
            "crop": data.crop.model_dump() if data.crop else None,
            "revision": identity.REVISIONS["views"],
        },
    }


def view_count(views: dict) -> int:
    """Crops times flips: 162 for pad 4 with flip. 0 stands for views without end."""
    if views["crop"] is not None:
        return 0
    return (2 * views["pad"] + 1) ** 2 * (2 if views["flip"] else 1)

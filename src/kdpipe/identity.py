"""What makes two runs the same run: a canonical spec and its digest.

A spec is a plain dict with every value written out. Its canonical form is JSON with sorted keys
and no spaces; its digest is the SHA-256 of that text. A parent enters by its digest, so a change
renames everything that descends from it and nothing else. Labels that a user invents (names of
blocks, methods, ensembles) never enter.

`REVISIONS` (and `networks.REVISIONS`) say what a spec *means*. Raise a number by hand when the
code behind it changes what a run computes: the runs it touches are then made again, and no others.
"""

import hashlib
import json

from kdpipe import cards

REVISIONS = {
    "training": 1,  # the loop, the streams, the optimiser
    "evaluation": 1,  # metrics, stored outputs
    "views": 1,  # padding, crops, flips and their order
    "split": 1,  # subset, label noise, validation
    "kd": 1,
    "attention": 1,
    "ensemble": 1,  # averaging
    "stream": 1,  # how images that stay in files are decoded, cropped and scaled
    "table": 2,  # teacher tables; 2: made by batches that fit a cache
    "probe": 1,  # features, and the classifier on them
    "digits": 1,
    "cifar10": 1,
    "cifar100": 1,
    "fashion-mnist": 1,
    "imagenet": 1,
    "mnist": 1,
    "svhn": 1,
    "own": 1,  # folders of classes and .npz files
}

# Keys that came after the first release: left out of the canonical form at their neutral value,
# so that runs from before keep their names. A neutral value never changes.
NEUTRAL: dict[str, object] = {
    "attention_revision": None,
    "attention_weight": 0.0,
    "autocast": None,
    "compile": False,
    "crop": None,  # no views without end
    "mean": None,  # of the pixels: measured
    "pretrained": None,
    "resize": None,
    "std": None,
    "stream_revision": None,  # of images in one array
}


def canonical(spec: dict) -> str:
    """The text that is hashed. Raises ValueError for NaN or infinity."""
    return json.dumps(
        _without_neutral(spec), sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def digest(spec: dict) -> str:
    """SHA-256 of the canonical spec, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(spec).encode()).hexdigest()


def data_revision(name: str) -> int:
    """The revision of a data set: its own if it is known, or that of all data of one's own."""
    return REVISIONS[name if name in cards.known() else "own"]


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


def stream(seed: int, stage: int, member: int, network: str, purpose: str, epoch: int = 0) -> int:
    """The seed of one random generator, in [0, 2**63).

    All randomness of a run is a function of these values. Runs of one network that share
    (seed, stage, member) start from the same weights and see the same images in the same order
    and views: scratch runs and direct students are paired. The network is part of it, so that a
    student never draws its order from the stream of a teacher of another architecture.
    """
    text = json.dumps([seed, stage, member, network, purpose, epoch])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


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


def _without_neutral(value):
    # Called for each of a plan's thousands of specs: only what holds other values is entered.
    if isinstance(value, dict):
        return {
            key: _without_neutral(item) if isinstance(item, (dict, list, tuple)) else item
            for key, item in value.items()
            if key not in NEUTRAL or item != NEUTRAL[key]
        }
    if isinstance(value, (list, tuple)):
        return [_without_neutral(item) for item in value]
    return value

"""What makes two runs the same run: a canonical spec and its digest.

A spec has every value written out. Its canonical form is JSON with sorted keys and no spaces; its
digest is the SHA-256 of that text. A parent enters by its digest, so a change renames everything
that descends from it and nothing else. Labels that a user invents (names of blocks, methods,
ensembles) never enter.

`REVISIONS`, and the `revision` that each file of a discovered folder states (a loss term, a model
family, a data set, an augmentation), say what a spec *means*. Raise a number by hand when the code
behind it changes what a run computes: the runs that it concerns are then computed again, and no
others.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from kdpipe.json_types import JsonObject

if TYPE_CHECKING:
    from kdpipe.runs.spec import RunSpec, SpecPart

REVISIONS = {
    "training": 1,  # the loop, the streams, the optimizers and schedules
    "evaluation": 1,  # metrics, stored outputs
    "views": 1,  # padding, crops, flips and their order
    "drawn": 1,  # which views of an image are drawn, where only some are
    "mixed": 1,  # which drawn views are mixed, and how
    "split": 1,  # subset, label noise, validation
    "ensemble": 1,  # averaging
    "input": 1,  # adapting images to a pretrained network that takes other ones
    "start": 1,  # loading initial weights, and which parameters are trained
    "stream": 1,  # decoding, cropping and scaling of streamed images
    "table": 2,  # logit caches; 2: computed in batches that fit a CPU cache
    "probe": 1,  # features, and the classifier on them
    "bfloat16": 1,  # teachers that answer in bfloat16: what is folded, what is cast
    "gauge": 1,  # exported graphs, their quantization and evaluation
    "standardise": 1,  # logits that loss terms see standardized
    "sharded": 1,  # batches that are cut into parts: where, their streams, and how they are summed
    "unlabelled": 1,  # unlabelled images: which, in which order and views, with which batch
    "own": 2,  # image folders and .npz files; 2: image modes converted, EXIF orientation applied
}

# Keys that were added after the first release are left out of the canonical form at their neutral
# value, so that earlier runs keep their names. A neutral value never changes.
NEUTRAL_VALUES: dict[str, object] = {
    "annealing": "steps",
    "autocast": None,
    "clip_norm": None,
    "compile": False,
    "crop": None,  # a finite number of views
    "cutmix": None,
    "ema": None,
    "mean": None,  # of the pixels; None: measured
    "mixup": None,
    "nesterov": False,
    "optimiser": "sgd",
    "pretrained": None,
    "resize": None,
    "shards": 1,
    "split": 0,
    "std": None,
    "stream_revision": None,  # images in one array
    "warmup": None,
    "weight_decay_on": "all",
}

# One for all: a plan writes thousands of specs.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(spec: "JsonObject | SpecPart") -> str:
    """Return the text that is hashed.

    Raises
    ------
    ValueError
        For NaN or infinity.
    """
    return dump_canonical(spec) if isinstance(spec, dict) else spec.canonical_json


def dump_canonical(value: Any) -> str:
    """Return a JSON value as canonical text; raise ValueError for NaN or infinity."""
    return _ENCODER.encode(drop_neutral(value))


def hash_spec(spec: "JsonObject | SpecPart") -> str:
    """Return the SHA-256 of the canonical spec, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(spec).encode()).hexdigest()


def add_checksum(card: JsonObject) -> JsonObject:
    """Return the content of a card with the SHA-256 of its JSON under the key `seal`.

    A number that was changed by hand is noticed by it before there is a result to compare.
    """
    content = {key: value for key, value in card.items() if key != "seal"}
    text = json.dumps(content, sort_keys=True)
    return content | {"seal": hashlib.sha256(text.encode()).hexdigest()}


def derive_seed(
    seed: int, stage: int, member: int, network: str, purpose: str, epoch: int = 0
) -> int:
    """Return the seed of one random generator, in [0, 2**63).

    All randomness of a run is a function of these values. Runs of one network that share (seed,
    stage, member) start from the same weights and see the same images in the same order and views,
    so that students trained on labels and on a teacher are paired. The network is included, so that
    a student never draws its order from the stream of a teacher of another architecture.

    Parameters
    ----------
    seed, stage, member : int
        Those of the spec of the run.
    network : str
        The name of the network.
    purpose : str
        What is drawn, such as the weights or the order of the images.
    epoch : int
        The epoch in which it is drawn.
    """
    text = json.dumps([seed, stage, member, network, purpose, epoch])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_run_seed(spec: "RunSpec", purpose: str, epoch: int = 0) -> int:
    """Return the seed of one random generator of a run, see `derive_seed`."""
    return derive_seed(spec.seed, spec.stage, spec.member, spec.network.name, purpose, epoch)


def drop_neutral(value: Any) -> Any:
    """Return a JSON value without the keys that are at their neutral value, at any depth."""
    # Called for each of a plan's thousands of specs, so only containers are recursed into.
    if isinstance(value, dict):
        return {
            key: drop_neutral(item) if isinstance(item, (dict, list, tuple)) else item
            for key, item in value.items()
            if key not in NEUTRAL_VALUES or item != NEUTRAL_VALUES[key]
        }
    if isinstance(value, (list, tuple)):
        return [drop_neutral(item) for item in value]
    return value

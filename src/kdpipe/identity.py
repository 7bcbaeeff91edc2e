"""What makes two runs the same run: a canonical spec and its digest.

A spec is a plain dict with every value written out. Its canonical form is JSON with sorted keys
and no spaces; its digest is the SHA-256 of that text. A parent enters by its digest, so a change
renames everything that descends from it and nothing else. Labels that a user invents (names of
blocks, methods, ensembles) never enter.

`REVISIONS`, and the `revision` that each file of a listed folder says of itself (a term, a network
family, a data set, an augmentation), say what a spec *means*. Raise a number by hand when the code
behind it changes what a run computes: the runs it touches are then made again, and no others.
"""

import hashlib
import json

REVISIONS = {
    "training": 1,  # the loop, the streams, the optimiser
    "evaluation": 1,  # metrics, stored outputs
    "views": 1,  # padding, crops, flips and their order
    "split": 1,  # subset, label noise, validation
    "ensemble": 1,  # averaging
    "input": 1,  # what a network that brings its weights is fed with, where it wants other images
    "start": 1,  # how weights that a network begins from are taken over, and what of it learns
    "stream": 1,  # how images that stay in files are decoded, cropped and scaled
    "table": 2,  # teacher tables; 2: made by batches that fit a cache
    "probe": 1,  # features, and the classifier on them
    "gauge": 1,  # graphs, how they are quantised and what is asked of them
    "standardise": 1,  # what terms on logits see instead of them
    "unlabelled": 1,  # images without labels: which, in which order and views, beside which batch
    "own": 2,  # folders of classes and .npz files; 2: modes of pictures converted, EXIF heeded
}

# Keys that came after the first release: left out of the canonical form at their neutral value,
# so that runs from before keep their names. A neutral value never changes.
NEUTRAL: dict[str, object] = {
    "annealing": "steps",
    "autocast": None,
    "clip_norm": None,
    "compile": False,
    "crop": None,  # no views without end
    "cutmix": None,
    "ema": None,
    "mean": None,  # of the pixels: measured
    "mixup": None,
    "nesterov": False,
    "optimiser": "sgd",
    "pretrained": None,
    "resize": None,
    "split": 0,
    "std": None,
    "stream_revision": None,  # of images in one array
    "warmup": None,
    "weight_decay_on": "all",
}


def canonical(spec: dict) -> str:
    """The text that is hashed. Raises ValueError for NaN or infinity."""
    return json.dumps(
        _without_neutral(spec), sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def digest(spec: dict) -> str:
    """SHA-256 of the canonical spec, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(spec).encode()).hexdigest()


def sealed(facts: dict) -> dict:
    """The facts of a card with a digest of all that it says.

    Nothing else tells a number that was changed by hand, before there is something to compare.
    """
    said = {key: value for key, value in facts.items() if key != "seal"}
    text = json.dumps(said, sort_keys=True)
    return said | {"seal": hashlib.sha256(text.encode()).hexdigest()}


def stream(seed: int, stage: int, member: int, network: str, purpose: str, epoch: int = 0) -> int:
    """The seed of one random generator, in [0, 2**63).

    All randomness of a run is a function of these values. Runs of one network that share
    (seed, stage, member) start from the same weights and see the same images in the same order
    and views: scratch runs and direct students are paired. The network is part of it, so that a
    student never draws its order from the stream of a teacher of another architecture.
    """
    text = json.dumps([seed, stage, member, network, purpose, epoch])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


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


def stream_of(spec: dict, purpose: str, epoch: int = 0) -> int:
    network = spec["network"]["name"]
    return stream(spec["seed"], spec["stage"], spec["member"], network, purpose, epoch)

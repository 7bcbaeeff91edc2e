"""What a spec contains, and the name that is made of it: one maker for each kind of job.

A spec is a plain dict with every value written out; its digest is the identity of what the job
makes. The plan decides which jobs there are, this module alone what stands in their specs: a key
that is added, renamed or written another way here renames the runs that it touches.
"""

from collections.abc import Sequence

from kdpipe import identity
from kdpipe.data import cards, views
from kdpipe.data.keys import REST, Data
from kdpipe.data.own.unlabelled.card import UnlabelledCard, folder_of
from kdpipe.learning.recipe import Recipe

# A trained network as a spec names it: the digest of its run, and the epoch that it is taken after.
Member = tuple[str, int]

UNLABELLED = ("unlabelled_from", "unlabelled_images", "unlabelled_revision", "own_revision")


def run_spec(
    data: dict,
    network: dict,
    recipe: Recipe,
    *,
    seed: int,
    stage: int = 0,
    member: int = 0,
    teacher: dict | None = None,
    method: dict | None = None,
    pretrained: dict | None = None,
) -> dict:
    """A network to train: on labels, or on a teacher (`teacher_spec`) by a method.

    `data` is what `data_spec` makes, `network` what the catalogue says of it, `method` what
    `learning.method.spec` makes. `seed`, `stage` and `member` choose the random streams.
    `pretrained` says which weights are brought, not trained.
    """
    return {
        "data": data,
        "network": network,
        "recipe": recipe.model_dump(),
        "seed": seed,
        "stage": stage,
        "member": member,
        "pretrained": pretrained,
        "teacher": teacher,
        "method": method,
        "revision": {key: identity.REVISIONS[key] for key in ("training", "evaluation")},
    }


def run_name(spec: dict, digest: str) -> str:
    """`<network>-<what it learns from>-s<seed>-<12 hex>`: for people to read, never parsed.

    A run of another split than the first has `-split<split>` behind its seed.
    """
    split = f"-split{spec['data']['split']}" if spec["data"].get("split") else ""
    return f"{spec['network']['name']}-{_learnt_from(spec)}-s{spec['seed']}{split}-{digest[:12]}"


def teacher_spec(members: Sequence[tuple[str, str, int]], average_at: str, outputs: str) -> dict:
    """The `teacher` of a run's spec: members as (digest of the run, network, epoch).

    `outputs` is `live`, or the precision of the tables that its members are asked through.
    """
    # What the teacher's answer rests on besides its own run.
    behind = ["ensemble"] if len(members) > 1 else []
    behind += ["table"] if outputs != "live" else []
    return {
        "members": [
            {"run": run, "network": network, "epoch": epoch} for run, network, epoch in members
        ],
        "average_at": average_at,
        "outputs": outputs,
        "revision": {key: identity.REVISIONS[key] for key in behind},
    }


def ensemble_spec(members: Sequence[Member], seed: int) -> dict:
    """An ensemble to score: the members whose probabilities are averaged."""
    return {
        "kind": "ensemble",
        "revision": identity.REVISIONS["ensemble"],
        "evaluation": identity.REVISIONS["evaluation"],
        "members": [{"run": run, "epoch": epoch} for run, epoch in members],
        "seed": seed,
    }


def ensemble_name(spec: dict, digest: str) -> str:
    """`ensemble-of-<members>-s<seed>-<12 hex>`."""
    return f"ensemble-of-{len(spec['members'])}-s{spec['seed']}-{digest[:12]}"


def table_spec(
    run: dict, digest: str, epoch: int, precision: str, unlabelled: dict | None = None
) -> dict:
    """A teacher table: of the run with this spec and digest, after `epoch`.

    Of the images that the run was trained on, or of those without labels (`unlabelled_spec`).
    """
    return {
        "kind": "table",
        "revision": identity.REVISIONS["table"],
        "data": run["data"],
        "network": run["network"],
        "run": digest,
        "epoch": epoch,
        "precision": precision,
        "threads": run["recipe"]["threads"],
        **(unlabelled or {}),
    }


def unlabelled_spec(data: Data, card: cards.Card, own: UnlabelledCard | None = None) -> dict:
    """Which images without labels a study has; a part of its methods and tables that use them.

    `own` is the card of those that are no part of the data set.
    """
    revision = {"unlabelled_revision": identity.REVISIONS["unlabelled"]}
    if own is None:
        left = card.train - data.validation - (data.train_size or card.train)
        return {"unlabelled_from": data.unlabelled, "unlabelled_images": left, **revision}
    revision["own_revision"] = identity.REVISIONS["own"]
    return {"unlabelled_from": own.sha256, "unlabelled_images": own.count, **revision}


def unlabelled_of(spec: dict) -> dict:
    """The same, of a method or a table that has it in its spec; else empty."""
    return {key: spec[key] for key in UNLABELLED if key in spec}


def unlabelled_folder(spec: dict) -> str | None:
    """Where the images without labels of a method or a table are prepared; None of `rest`."""
    source = spec.get("unlabelled_from", REST)
    return None if source == REST else folder_of(source)


def unlabelled_shown(spec: dict) -> int:
    """How many images without labels a run is shown, over all epochs, each as often as it is."""
    method = spec["method"] or {}
    steps = -(-spec["data"]["train_size"] // spec["recipe"]["batch_size"])
    return steps * method["unlabelled"] * method["kd_epochs"] if "unlabelled" in method else 0


def tabled(table: dict) -> int:
    """Of how many images a table is."""
    return table.get("unlabelled_images") or table["data"]["train_size"]


def table_name(spec: dict, digest: str) -> str:
    """`<network>-e<epoch>-<12 hex>`: the outputs of one teacher checkpoint."""
    return f"{spec['network']['name']}-e{spec['epoch']}-{digest[:12]}"


def probe_spec(run: dict, digest: str, epoch: int, data: dict) -> dict:
    """A linear probe on other data: of the run with this spec and digest, after `epoch`."""
    return {
        "kind": "probe",
        "revision": identity.REVISIONS["probe"],
        "data": data,
        "network": run["network"],
        "run": digest,
        "epoch": epoch,
        "seed": run["seed"],
        "threads": run["recipe"]["threads"],
    }


def probe_name(spec: dict, digest: str) -> str:
    """`<network>-on-<data>-s<seed>-<12 hex>`: a linear probe on another data set."""
    return f"{spec['network']['name']}-on-{spec['data']['name']}-s{spec['seed']}-{digest[:12]}"


def gauge_spec(run: dict, digest: str, epoch: int, reading: str) -> dict:
    """What a network comes to as a file: of the run with this spec and digest.

    Where `reading` is `best` it is the run at its best epoch on validation, else after `epoch`.
    """
    return {
        "kind": "gauge",
        "revision": identity.REVISIONS["gauge"],
        "evaluation": identity.REVISIONS["evaluation"],
        "data": run["data"],
        "network": run["network"],
        "run": digest,
        "epoch": epoch,
        "reading": reading,
        "seed": run["seed"],
        "threads": 1,
    }


def gauge_name(spec: dict, digest: str) -> str:
    """`<network>-as-file-e<epoch>-s<seed>-<12 hex>`: what a network comes to as a file."""
    when = "best" if spec["reading"] == "best" else f"e{spec['epoch']}"
    return f"{spec['network']['name']}-as-file-{when}-s{spec['seed']}-{digest[:12]}"


# The makers of names by the kind of what is made.
NAMES = {
    "run": run_name,
    "ensemble": ensemble_name,
    "table": table_name,
    "probe": probe_name,
    "gauge": gauge_name,
}


def data_spec(data: Data, card: cards.Card, split: int = 0) -> dict:
    """The `data` part of a spec: which images, and in which views.

    `split`: which of the draws of `split_seed`; the first one is not written out, nor is that as
    many of each class are drawn.
    """
    drawn: dict = {"split": split} if split else {}
    drawn |= {"draw": data.draw} if data.draw != "equal" else {}
    return {
        "name": card.name,
        "card": card.sha256,
        "revision": cards.data_revision(card.name),
        "train_size": data.train_size or card.train - data.validation,
        "validation": card.validated(data.validation),
        "label_noise": data.label_noise,
        "split_seed": data.split_seed,
        **drawn,
        "split_revision": identity.REVISIONS["split"],
        "resize": data.resize,
        "mean": data.mean,
        "std": data.std,
        "stream_revision": identity.REVISIONS["stream"] if card.streamed else None,
        "views": {**views.spec_of(data), "revision": identity.REVISIONS["views"]},
    }


def view_count(spec: dict) -> int:
    """Of the `views` of a spec: 162 for pad 4 with flip. 0 stands for views without end."""
    found = views.Views.of(spec)
    return 0 if found.endless else found.count


def _learnt_from(spec: dict) -> str:
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

"""Where an export comes from: what a model card and a config say of license, teachers and study.

Nothing here is guessed. The license is the one that `kdpipe export --license` names; the licenses
of teachers and initial weights are those that the study or their own metadata state
(`models.pretrained.origin`).
"""

import hashlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdpipe.data.cards import DatasetCard
from kdpipe.models.config import PretrainedWeights
from kdpipe.models.pretrained import origin, weights_info
from kdpipe.models.pretrained.origin import NOT_STATED
from kdpipe.plan.nodes import Plan, Run
from kdpipe.runs.files import read_existing
from kdpipe.runs.store import Store

# Identifiers of licenses that the Hugging Face Hub accepts in a card's front matter; any other is
# `other` there, with its name as `license_name`.
HUB_LICENSE_WORDS = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-
sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0
epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1
lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa
unlicense zlib pddl apple-amlr gemma llama2 llama3 llama3.1 llama3.2 llama3.3
"""
HUB_LICENSES = frozenset(HUB_LICENSE_WORDS.split())
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


@dataclass(frozen=True)
class ExportRequest:
    """What was asked of `kdpipe export`, for the card of what it writes.

    Attributes
    ----------
    study_file : Path
        The study file.
    license : str or None
        The license of the export; None if none was named.
    options : tuple of str
        Other options that determine what is exported.
    keep_float : int
        How many layers of the int8 graph stay in float32.
    """

    study_file: Path
    license: str | None = None
    options: tuple[str, ...] = ()
    keep_float: int = 0


def describe_provenance(request: ExportRequest, run: Run, plan: Plan, store: Store) -> dict:
    """Return where an export comes from, as keys of its config.

    Parameters
    ----------
    request : ExportRequest
        What was asked for.
    run : Run
        The run that is exported.
    plan : Plan
        The plan of the study.
    store : Store
        The results folder.

    Returns
    -------
    dict
        `license`, `base_model` (teachers and initial weights, of the exported network first),
        `datasets`, `study_file` (name and SHA-256) and `commands`, which make the export again.
    """
    name, license = request.study_file.name, request.license
    labelled = [] if license is None else ["--license", license]
    commands = [
        ["kdpipe", "run", name, "--cores", "2", f"results/runs/{run.name}/record.json"],
        ["kdpipe", "export", name, run.name, *request.options, *labelled],
    ]
    return {
        "license": license or NOT_STATED,
        "base_model": _drop_repeated(_list_base_models(run, plan, store)),
        "datasets": _list_datasets(run, plan),
        "study_file": {
            "name": name,
            "sha256": hashlib.sha256(read_existing(request.study_file)).hexdigest(),
        },
        "commands": [shlex.join(command) for command in commands],
    }


def describe_front_matter(config: dict, card: DatasetCard) -> dict:
    """Return where an export comes from, as keys of the front matter of its card.

    They have the form that the Hugging Face Hub accepts: identifiers of its licenses, and only
    base models that are repositories there.
    """
    license = config["license"]
    facts = {"license": "unknown"}  # the Hub's word for a license that is not stated
    if license.lower() in HUB_LICENSES:
        facts = {"license": license.lower()}
    elif license != NOT_STATED:
        facts = {"license": "other", "license_name": license}
    repositories = [item["repository"] for item in config["base_model"] if "repository" in item]
    lists = {"base_model": list(dict.fromkeys(repositories)), "datasets": [card.name]}
    return facts | {
        key: names for key, names in lists.items() if names and all(map(HUB_NAME.fullmatch, names))
    }


def list_restrictions(config: dict) -> list[str]:
    """Return a sentence for each base model of an export whose license restricts derivatives."""
    return [
        f"The license of {item['source']} ({item['role']}), {item['license']}, says by its name "
        f"that {restriction}; this may hold for this network too: read it before you share the "
        "network."
        for item in config["base_model"]
        if (restriction := origin.find_restriction(item["license"]))
    ]


def _list_base_models(run: Run, plan: Plan, store: Store, suffix: str = "") -> Iterator[dict]:
    """Yield what a run begins from and who teaches it, and the same of its teachers."""
    spec, sources = run.spec, plan.study.weights_sources
    if spec.network.start is not None:
        start = spec.network.start
        yield from _list_weights(
            f"initial weights{suffix}", start.network, sources[spec.network.name], start.sha256
        )
    if spec.pretrained is not None:
        yield from _list_weights(
            f"the weights themselves{suffix}",
            spec.network.name,
            _find_pretrained(run, plan),
            spec.pretrained.sha256,
        )
    if spec.teacher is None:
        return
    runs = {other.digest: other for other in plan.runs.values()}
    for member in spec.teacher.members:
        teacher = runs[member.run]
        if teacher.spec.pretrained is not None:
            source = _find_pretrained(teacher, plan)
            checksum = teacher.spec.pretrained.sha256
            yield from _list_weights(f"teacher{suffix}", teacher.network, source, checksum)
            continue
        record = store.load_records("runs").get(teacher.name, {})
        files = record.get("files", {}) if member.epoch == teacher.spec.recipe.epochs else {}
        yield {
            "role": f"teacher{suffix}",
            "network": teacher.network,
            "source": f"run {teacher.name} of this study, after epoch {member.epoch}",
            "sha256": files.get("weights.safetensors", {}).get("sha256"),
            "license": NOT_STATED,
        }
        yield from _list_base_models(teacher, plan, store, f" of the teacher{suffix}")


def _list_weights(
    role: str, network: str, source: PretrainedWeights, sha256: str | None
) -> Iterator[dict]:
    """Yield weights from elsewhere, and if they are an export, what that was made from."""
    found = origin.find_origin(source)
    entry = {
        "role": role,
        "network": network,
        "source": found.source,
        "sha256": sha256,
        "license": found.license,
    }
    if found.stated_by:
        entry["license_stated_by"] = found.stated_by
    if found.repository is not None:
        entry["repository"] = found.repository
    yield entry
    for item in found.base_models:
        yield dict(item, role=f"{item['role']} of {found.source}")


def _find_pretrained(run: Run, plan: Plan) -> PretrainedWeights:
    """Return the entry of `pretrained` that a run of no epochs evaluates."""
    weights = run.spec.pretrained
    assert weights is not None
    return next(
        source
        for name, source in plan.study.pretrained.items()
        if run.network in (name, source.network)
        and (source.weights, weights_info.get_checksum(source)) == (weights.weights, weights.sha256)
    )


def _list_datasets(run: Run, plan: Plan) -> list[dict]:
    """Return the data that a run was trained on."""
    card = plan.card
    datasets = [
        {"name": card.name, "title": card.title, "source": card.source, "sha256": card.sha256}
    ]
    if (run.spec.method or {}).get("unlabelled") and plan.unlabelled is not None:
        source = plan.unlabelled.source
        datasets.append(
            {"name": "unlabelled", "title": "images without labels", "source": source}
            | {"sha256": plan.unlabelled.sha256}
        )
    return datasets


def _drop_repeated(entries: Iterator[dict]) -> list[dict]:
    """Return entries without repetitions, in their order."""
    unique: list[dict] = []
    for entry in entries:
        if entry not in unique:
            unique.append(entry)
    return unique

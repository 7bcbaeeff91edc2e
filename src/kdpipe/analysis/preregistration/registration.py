"""The registration of a study: what it says, deviations from it, and what it blinds.

The file lies beside the study file, and a copy of it in the results folder. Test results of what is
registered are blinded until a registered look is reached: when all that was registered for it, and
all that the study has now, has a record. So a study that was edited, renamed or copied shows no
more than the one that was registered. It imports no pandas: it is used on a head node.

Pilots: studies of their own by which the choices of another study were made.

They are found by the name that they give themselves, in the study files beside the one that names
them, in a folder `studies` there, and in the current folder.
"""

import datetime
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdpipe import __version__, version
from kdpipe.config import load
from kdpipe.config.schema import Study
from kdpipe.data.imagefolder import unlabelled_card as unlabelled
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.plan import planner
from kdpipe.plan.nodes import Plan
from kdpipe.runs import looks, registrations
from kdpipe.runs.records import RECORD_KINDS
from kdpipe.runs.registrations import RegisteredVerdicts
from kdpipe.runs.store import Store
from kdpipe.text import format_count, format_value, join_names

# How a study is run and shown, and where files are on one machine: not part of what is tested.
UNTESTED_KEYS = {
    "device",
    "runs_per_gpu",
    "processes_per_run",
    "kernels",
    "workers",
    "look",
    "registration",
    "code",
    "tables",
}

# The rules of verdicts that this code has (docs/statistics.md); a registration names its own.
RULES = 2

# Where images and weights are, how a card is made, and under which license weights are: the names
# of the runs say what they hold.
SOURCE_KEYS = ("path", "card", "card_options", "license")
# Keys of a study that a registration lists one by one.
REGISTERED_KEYS = (
    "seeds",
    "splits",
    "looks",
    "reading",
    "smallest_effect",
    "primary",
    "claims",
    "pilots",
)


def read_registration(study: Study) -> dict | None:
    """Read the registration beside a study file.

    Parameters
    ----------
    study : Study
        The study.

    Returns
    -------
    dict or None
        None if there is none.

    Raises
    ------
    KdpipeError
        If it was altered, or is another study's.
    """
    if study.registration is None:
        return None
    registration = registrations.read_registration(Path(study.registration))
    if registration["study"] != study.study:
        raise KdpipeError(
            f"registration: {study.registration} belongs to the study {registration['study']}, not "
            f"to {study.study}"
        )
    return registration


def find_registration(study: Study, store: Store) -> dict | None:
    """Read the registration of a study: beside its file, or else in the results.

    Parameters
    ----------
    study : Study
        The study.
    store : Store
        The results folder.

    Returns
    -------
    dict or None
        None if there is none.

    Raises
    ------
    KdpipeError
        If it was altered, or is another study's.
    """
    return read_registration(study) or registrations.load_registration(study.study, store)


def list_registered_claims(study: Study, store: Store) -> list[str] | None:
    """List the claims that the registration of a study has; others are explored.

    Parameters
    ----------
    study : Study
        The study.
    store : Store
        The results folder.

    Returns
    -------
    list of str or None
        The ids of the claims; None if the study is not registered.
    """
    registration = find_registration(study, store)
    return None if registration is None else list(registration["claims"])


def store_registration(study: Study, store: Store, target: Store | None = None) -> None:
    """Copy the registration of a study into its results.

    Parameters
    ----------
    study : Study
        The study.
    store : Store
        The results folder.
    target : Store, optional
        Results folder to copy to, if it is another one.
    """
    path = registrations.registration_path(study.study, store)
    if read_registration(study) is not None:
        path = Path(str(study.registration))
    if path.exists():
        registrations.copy_registration(path, study.study, target or store)
        if target is not None:
            looks.copy_looks(study.study, store, target)
            content = registrations.read_registration(path)
            registrations.copy_registered_verdicts(content, store, target)


def note_looks(plan: Plan, store: Store) -> None:
    """Note which records a report shows, if its study is registered and a look is reached.

    Nothing is noted of an archive, whose log came with it.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder.

    Raises
    ------
    KdpipeError
        If the registration or the log of looks was altered.
    """
    registration = find_registration(plan.study, store)
    is_live = (store.root / "runs").is_dir()
    if registration is None or not is_live or find_blinding_reason(plan, store) is not None:
        return
    path = plan.study.registration or registrations.registration_path(plan.study.study, store)
    looks.note_looks(registration, store, version.find_commit_date(Path(path)))


def load_registered_verdicts(plan: Plan, store: Store) -> RegisteredVerdicts | None:
    """Load the verdicts by the rules that a study was registered under, if they are others.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder.

    Returns
    -------
    RegisteredVerdicts or None
        None if the study was registered under the current rules or not at all, if its verdicts
        were not kept, or if they are of other seeds than the plan has now.
    """
    verdicts = load_kept_verdicts(plan, store)
    return None if verdicts is None or verdicts.rules == RULES else verdicts


def load_kept_verdicts(plan: Plan, store: Store) -> RegisteredVerdicts | None:
    """Load the verdicts that the code which a study was registered with has computed.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder.

    Returns
    -------
    RegisteredVerdicts or None
        None if the study is not registered, if its verdicts were not kept, or if they are of other
        seeds than the plan has now.
    """
    if (registration := find_registration(plan.study, store)) is None:
        return None
    verdicts = registrations.load_registered_verdicts(registration, store)
    has_same_seeds = verdicts is not None and verdicts.seeds == plan.study.due_seeds
    return verdicts if has_same_seeds else None


def keep_claims(study: Study, path: Path, store: Store) -> Path:
    """Keep the claims that the registered version of kdpipe has made of a study.

    Parameters
    ----------
    study : Study
        The study.
    path : Path
        The claims.json of the registered version.
    store : Store
        The results folder.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    KdpipeError
        If the study is not registered, or the file does not hold the claims that are.
    """
    if (registration := find_registration(study, store)) is None:
        raise KdpipeError(f"the study {study.study} is not registered: it has no claims to keep")
    return registrations.write_registered_verdicts(registration, study.due_seeds, path, store)


def describe_registration(
    plan: Plan, store: Store, claims: list[dict[str, Any]] | None = None
) -> list[str]:
    """Describe the registration of a study for its report.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder.
    claims : list of dict, optional
        The verdicts of this code, as claims.json lists them, to compare the kept ones with.

    Returns
    -------
    list of str
        One line, and one more for each deviation.
    """
    study = plan.study
    registration = find_registration(study, store)
    if registration is None:
        return ["Explored, not registered: nothing says what was to be tested before it was run."]
    records = _load_records(plan, registration, store)
    kept = load_kept_verdicts(plan, store)
    verdicts = load_registered_verdicts(plan, store)
    deviations = [
        *find_study_deviations(study, registration, kept, claims),
        *find_run_deviations(records, registration),
        *looks.find_deviations(registration, store),
    ]
    timing = "" if any(find_early_runs(records, registration)) else ", before the first run"
    sha256 = _shorten_digest(registration)
    stored_copy = registrations.load_registration(study.study, store)
    if stored_copy not in (None, registration):
        deviations.append(
            f"The registration beside the study file (sha256 {sha256}) is not the one in the "
            f"results folder (sha256 {_shorten_digest(stored_copy)})."
        )
    code = f", git {registration['git']}" if registration["git"] else ""
    tested = [key for key, claim in registration["claims"].items() if "contrasts" in claim]
    primary = [key for key in tested if registration["claims"][key]["primary"]]
    line = (
        f"Registered on {registration['registered'][:10]}{timing}, with "
        f"kdpipe {registration['kdpipe']}{code} (sha256 {sha256}): "
        f"{len(tested)} claims that can be tested, of which primary {join_names(primary)}; seeds "
        f"{join_names(registration['seeds'])}, looked at after "
        f"{join_names(registration['looks'])}; reading {registration['reading']}; "
        f"smallest effect {registration['smallest_effect']:g}"
    )
    commits = {
        str(git)
        for record in records
        if (git := (record.get("versions") or {}).get("git")) not in (None, registration["git"])
    }
    line += f"; run at git {join_names(sorted(commits))}" if commits else ""
    if registration["pilots"]:
        line += f"; pilots {join_names(pilot['study'] for pilot in registration['pilots'])}"
    if verdicts is not None:
        line += (
            "; verdicts, p and families are those of the registered rules "
            f"{verdicts.rules}, as git {verdicts.commit[:7]} computes them "
            f"({registrations.registered_verdicts_path(registration, store).name}), those by rules "
            f"{RULES} beside them are explored"
        )
    end = f"{format_count(len(deviations), 'deviation')}, below" if deviations else "No deviation"
    return [f"{line}. {end}.", *deviations]


def _load_records(plan: Plan, registration: dict, store: Store) -> list[dict]:
    """Load the records of all that was registered, and of all that the study has now."""
    names = {*plan.nodes_by_name, *registrations.list_registered_names(registration)}
    return [
        record
        for kind in RECORD_KINDS
        for name, record in store.load_records(kind).items()
        if name in names
    ]


def _shorten_digest(registration: dict) -> str:
    """Return the first twelve digits of a registration's SHA-256."""
    return registrations.compute_registration_digest(registration)[:12]


# --- blinding of test results


def find_blinding_reason(plan: Plan, store: Store) -> str | None:
    """Return why the test results of a plan are blinded.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder.

    Returns
    -------
    str or None
        None if they may be shown.
    """
    registration = find_registration(plan.study, store)
    if (
        registration is not None
        and (missing := _describe_missing(plan, registration, store)) is not None
    ):
        count = len(plan.study.due_seeds)
        interim = next(
            (n_seeds for n_seeds in registration["looks"] if n_seeds >= count),
            registration["looks"][-1],
        )
        return (
            f"the study is registered, and test is not looked at before the look at {interim} "
            f"seeds is reached: {missing}"
        )
    return find_shared_reason(plan, store)


def find_shared_reason(plan: Plan, store: Store, except_study: str | None = None) -> str | None:
    """Return why results are blinded because the runs belong to a registered study.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder.
    except_study : str, optional
        Study whose registration is ignored.

    Returns
    -------
    str or None
        None if they may be shown.
    """
    blinded = registrations.find_sealed_names(store)
    registered_runs = [blinded[name] for name in plan.nodes_by_name if name in blinded]
    if not (waiting := Counter(owner for owner in registered_runs if owner[0] != except_study)):
        return None
    (study, interim), count = waiting.most_common(1)[0]
    return (
        f"{count:,} of its runs and ensembles are those of the study {study}, which is registered, "
        f"and test is not looked at before its look at {interim} seeds is reached"
    )


def _describe_missing(plan: Plan, registration: dict, store: Store) -> str | None:
    """Describe what a registered study lacks at the due seeds; None if the look is reached."""
    looks, count = registration["looks"], len(plan.study.due_seeds)
    if count < looks[-1] and count not in looks:
        return f"the study asks for {count} seeds only"
    names = {*plan.nodes_by_name, *registrations.list_registered_names(registration, count)}
    waiting = names - registrations.list_recorded_names(store)
    return f"{len(waiting):,} of {len(names):,} runs and ensembles are to do" if waiting else None


# --- deviations from a registration


def find_study_deviations(
    study: Study,
    registration: dict,
    kept: RegisteredVerdicts | None = None,
    claims: list[dict[str, Any]] | None = None,
) -> list[str]:
    """Find in what a study and this version differ from its registration.

    Parameters
    ----------
    study : Study
        The study.
    registration : dict
        Its registration.
    kept : RegisteredVerdicts, optional
        The verdicts that the registered code has computed, if they were kept.
    claims : list of dict, optional
        The verdicts of this code, as claims.json lists them.

    Returns
    -------
    list of str
        One sentence for each deviation.
    """
    deviations = list(_find_code_change(registration, kept, claims))
    if (rules := registrations.get_rules(registration)) != RULES and kept is None:
        source = "" if "rules" in registration else ", since it names none"
        deviations.append(
            f"Claims are judged by rules {RULES}, registered were rules {rules}{source}."
        )
    content = get_registered_content(study)
    if content["seeds"] != registration["seeds"]:
        deviations.append(_describe_seed_change(registration, content["seeds"]))
    for key in REGISTERED_KEYS[1:]:
        old = registration[key] if key != "claims" else registration["reads"]
        if key == "looks" and content["seeds"] != registration["seeds"] and study.looks is None:
            continue  # the deviation of the seeds says it
        old = [pilot["study"] for pilot in old] if key == "pilots" else old
        if content[key] != old:
            deviations.append(
                f"{key}: {format_value(old)} was registered, it is {format_value(content[key])}."
            )
    for key in sorted({*content["study"], *registration["asked"]}):
        if (old := registration["asked"].get(key)) != (new := content["study"].get(key)):
            deviations.append(
                f"{key} of the study is another one: {_describe_difference(old, new)}."
            )
    return [*deviations, *_find_run_changes(registration, list_planned_names(study))]


def find_run_deviations(records: list[dict], registration: dict) -> list[str]:
    """Find in what records of a study differ: made by another version, or too early.

    Parameters
    ----------
    records : list of dict
        Records of the study.
    registration : dict
        Its registration.

    Returns
    -------
    list of str
        One sentence for each deviation.
    """
    return [*find_early_runs(records, registration), *_find_other_versions(records, registration)]


def get_registered_content(study: Study) -> dict:
    """Return what is tested of a study: keys that a registration names, and the rest.

    Parameters
    ----------
    study : Study
        The study.

    Returns
    -------
    dict
        `REGISTERED_KEYS`, and the other tested keys under `study`.
    """
    keys = json.loads(study.model_dump_json(exclude_defaults=True, exclude=UNTESTED_KEYS))
    content = json.loads(study.model_dump_json(include=set(REGISTERED_KEYS)))
    content["looks"] = study.looks or [len(study.seeds)]
    rest = {key: value for key, value in keys.items() if key not in (*REGISTERED_KEYS, "study")}
    pretrained = [*rest.get("pretrained", {}).values(), *rest.get("starts", {}).values()]
    for part in [rest.get("data", {}), *pretrained]:
        for key in SOURCE_KEYS:
            part.pop(key, None)
    if "unlabelled" in rest.get("data", {}) and unlabelled.has_unlabelled_images(study.data):
        rest["data"]["unlabelled"] = "of one's own"  # the names of the runs identify them
    for transfer in rest.get("transfers", {}).values():
        for key in SOURCE_KEYS:
            transfer["data"].pop(key, None)
    return content | {"study": rest}


def list_planned_names(study: Study) -> list[list[str]]:
    """List the names of everything that a study needs.

    Parameters
    ----------
    study : Study
        The study.

    Returns
    -------
    list of list of str
        One list for each look, of what it adds.
    """
    names_by_look, seen = [], set()
    for interim in range(1, len(study.looks or [0]) + 1):
        plan = planner.build_plan(study.model_copy(update={"look": interim}))
        new_names = plan.nodes_by_name.keys() - seen
        names_by_look.append(sorted(new_names))
        seen |= new_names
    return names_by_look


def find_early_runs(records: list[dict], registration: dict) -> Iterator[str]:
    """Yield what was made before it was registered, or may have been.

    Parameters
    ----------
    records : list of dict
        Records of the study.
    registration : dict
        Its registration.

    Yields
    ------
    str
        A sentence.
    """
    start_times = {record["name"]: _parse_time(record.get("started")) for record in records}
    registered_at = _parse_time(registration["registered"])
    early = {
        name: time
        for name, time in start_times.items()
        if time and registered_at and time < registered_at
    }
    if early:
        yield (
            f"{len(early):,} of {len(records):,} runs and ensembles were made before they were "
            f"registered, {min(early, key=early.__getitem__)} first: their results could have been "
            "seen by then."
        )
    if n_unknown := sum(time is None for time in start_times.values()):
        yield (
            f"The records of {n_unknown:,} of {len(records):,} runs and ensembles do not say if "
            "they were made before they were registered."
        )


def _parse_time(text: object) -> datetime.datetime | None:
    """Parse a time with its zone; None if it is missing."""
    try:
        time = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else None


def _find_other_versions(records: list[dict], registration: dict) -> Iterator[str]:
    """Yield what another version of kdpipe has made than the registered one.

    Another commit of the same version is no deviation: the registration itself may have been
    committed there.
    """
    versions = [record.get("versions") or {} for record in records]
    others = Counter(entry.get("kdpipe") for entry in versions)
    others.pop(registration["kdpipe"], None)
    for other, count in others.most_common():
        yield (
            f"{count:,} of {len(records):,} runs and ensembles were made by kdpipe "
            f"{other or 'of an unknown version'}, where {registration['kdpipe']} was registered."
        )


def _find_code_change(
    registration: dict, kept: RegisteredVerdicts | None, claims: list[dict[str, Any]] | None
) -> Iterator[str]:
    """Yield that this code makes numbers, or judges them, differently than registered.

    It names no commit of its own: the same records are to give the same page at the next one. The
    commits of runs are in their records.
    """
    if registration["format"] == registrations.FORMAT_WITHOUT_NAMES:
        is_same = registration["judging"] == version.hash_verdict_code()
        changed = [] if is_same else ["what judges"]
    else:
        changed = version.find_changed_parts(registration["code"])
    if changed or registration["kdpipe"] != __version__:
        parts = (
            f" in {format_count(len(changed), 'part')}: {join_names(changed)}" if changed else ""
        )
        kdpipe, git = (registration[key] or "unknown" for key in ("kdpipe", "git"))
        suffix = "" if registration["kdpipe"] == __version__ else f", this is kdpipe {__version__}"
        yield (
            f"Code changed after registration{parts}; kdpipe {kdpipe} (git {git}) was "
            f"registered{suffix}. {_compare_verdicts(kept, claims)}"
        )


def _compare_verdicts(kept: RegisteredVerdicts | None, claims: list[dict[str, Any]] | None) -> str:
    """Return whether the registered code and this one judge alike, in a sentence."""
    if kept is None:
        return "Whether the registered code gives the same claims.json was not recomputed."
    if kept.rules != RULES:
        return "The registered verdicts are the kept ones; they were not recomputed with this code."
    source = f"git {kept.commit[:7]} gives"
    if claims is None:
        return f"What {source} is kept in claims_rules_{kept.rules}.json."
    now = {claim["id"]: claim for claim in claims}
    changed = [row["id"] for row in kept.claims if not _is_contained(row, now.get(row["id"]))]
    if not changed:
        return f"On the same records {source} the same claims.json."
    return (
        f"On the same records {source} other numbers or verdicts for {join_names(changed)}: they "
        f"are in claims_rules_{kept.rules}.json."
    )


def _is_contained(old: Any, new: Any) -> bool:
    """Return whether all that one JSON value holds is in another, numbers to nine digits.

    A later version may list more of a claim. Libraries and processors differ in the last digits.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and _is_contained(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_is_contained, old, new))
    if isinstance(old, float) and isinstance(new, float | int):
        return math.isclose(old, new, rel_tol=1e-9, abs_tol=1e-12)
    return old == new


def _find_run_changes(registration: dict, names_by_look: list[list[str]]) -> Iterator[str]:
    """Yield changes of the names of runs, which identify all that a run is made by."""
    names = set().union(*names_by_look)
    if registration["format"] == registrations.FORMAT_WITHOUT_NAMES:
        if hash_names(names) != registration["plan"]:
            yield "The runs are other ones."
        return
    old_names = registrations.list_registered_names(registration)
    if n_removed := len(old_names - names):
        yield (
            f"{n_removed:,} of {len(old_names):,} registered runs and ensembles are not asked for "
            "now."
        )
    if n_added := len(names - old_names):
        yield f"{n_added:,} runs and ensembles that were not registered are asked for now."


def hash_names(names: set[str]) -> str:
    """Return the SHA-256 of names, as a registration without names has it.

    Parameters
    ----------
    names : set of str
        Names of nodes.

    Returns
    -------
    str
        Hexadecimal digest.
    """
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _describe_seed_change(registration: dict, seeds: list[int]) -> str:
    """Describe a change of the seeds, and the error rate of an unplanned look."""
    from kdpipe.stats import group_sequential  # slow to import, and rarely needed

    old_seeds = registration["seeds"]
    text = f"seeds: {join_names(old_seeds)} were registered, they are {join_names(seeds)}"
    if seeds[: len(old_seeds)] != old_seeds:
        return f"{text}: other ones."
    counts = [*registration["looks"], len(seeds)]
    information = [count / counts[-1] for count in counts]
    nominal_levels = [
        group_sequential.InterimAnalysis(tuple(registration["looks"]), n + 1).compute_level()
        for n in range(len(counts) - 1)
    ]
    error_rate = group_sequential.compute_type1_error(
        information, [*nominal_levels, nominal_levels[-1]]
    )
    return (
        f"{text}: an unplanned look, the {len(counts)}th of {len(counts) - 1} registered; all of "
        f"them err in up to {100 * error_rate:.1f} % where 5 % is stated."
    )


def _describe_difference(old: Any, new: Any) -> str:
    """Describe the first place where two values of a key differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        key = next(k for k in [*old, *new] if old.get(k) != new.get(k))
        return f"{key}: {_describe_difference(old.get(key), new.get(key))}"
    return f"{format_value(old)} was registered, it is {format_value(new)}"


def list_pilots(study: Study, plan: Plan, folder: Path) -> list[dict]:
    """List the pilots that a study names.

    Parameters
    ----------
    study : Study
        The study.
    plan : Plan
        Its plan.
    folder : Path
        Folder of its file.

    Returns
    -------
    list of dict
        Keys `study` and `file`, None if the file is not found.

    Raises
    ------
    KdpipeError
        If a pilot has a run of the study: it would be tested on what it was chosen by.
    """
    pilots = []
    for name in study.pilots:
        path = find_study_file(name, folder)
        if path is None:
            pilots.append({"study": name, "file": None})
            continue
        shared = plan.runs.keys() & planner.build_plan(load.load_study(path)).runs.keys()
        if shared:
            raise KdpipeError(
                f"pilots: {name} ({path}) shares {len(shared):,} runs with this study, such as "
                f"{min(shared)}: a study must not be tested on the runs that its choices were "
                "based on; give it other seeds"
            )
        pilots.append({"study": name, "file": path.name})
    return pilots


def find_study_file(name: str, folder: Path) -> Path | None:
    """Find the study file that has a name.

    Parameters
    ----------
    name : str
        Name of the study.
    folder : Path
        Folder to search, with its `studies` and those of the current folder.

    Returns
    -------
    Path or None
        None if there is none.
    """
    for directory in dict.fromkeys((folder, folder / "studies", Path(), Path("studies"))):
        for path in sorted(directory.glob("*.yaml")):
            try:
                content = load.read_yaml(path)
            except StudyError:
                continue
            if isinstance(content, dict) and content.get("study") == name:
                return path
    return None


def load_pilot(name: str, folder: Path, store: Store, study: Study) -> Plan:
    """Load the pilot of a study, whose results may be read, to be judged by the study's metric.

    Parameters
    ----------
    name : str
        Name of the study.
    folder : Path
        Folder to search, as `find_study_file` does.
    store : Store
        The results folder.
    study : Study
        The study that the pilot is for.

    Returns
    -------
    Plan
        The plan of the pilot, with the metric of the study.

    Raises
    ------
    KdpipeError
        If there is none, or it is blinded.
    """
    path = find_study_file(name, folder)
    if path is None:
        raise KdpipeError(
            f"--pilot {name}: no study file has study: {name}; searched {folder}, the current "
            "folder, and studies/ of both"
        )
    plan = planner.build_plan(load.load_study(path))
    if (reason := find_blinding_reason(plan, store)) is not None:
        raise KdpipeError(f"--pilot {name}: {reason}")
    return replace(plan, study=plan.study.model_copy(update={"metric": study.metric}))

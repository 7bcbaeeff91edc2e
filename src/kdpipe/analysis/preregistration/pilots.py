"""Pilots: studies of their own by which the choices of another study were made.

They are found by the name that they give themselves, in the study files beside the one that names
them, in a folder `studies` there, and in the current folder.
"""

from pathlib import Path

from kdpipe.config import load
from kdpipe.config.schema import Study
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.plan import planner
from kdpipe.plan.nodes import Plan


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
                f"pilots: {name} ({path}) has {len(shared):,} runs of this study, {min(shared)} "
                "among them: a study is not tested on the runs that its choices were made by; "
                "give it other seeds"
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


def load_pilot(name: str, folder: Path) -> Study:
    """Load the study of a name.

    Parameters
    ----------
    name : str
        Name of the study.
    folder : Path
        Folder to search, as `find_study_file` does.

    Returns
    -------
    Study
        The pilot.

    Raises
    ------
    KdpipeError
        If there is none.
    """
    path = find_study_file(name, folder)
    if path is None:
        raise KdpipeError(
            f"--pilot {name}: no study file says study: {name}; looked at were those in {folder}, "
            "in the current folder, and in studies/ of both"
        )
    return load.load_study(path)

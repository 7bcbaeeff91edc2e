"""Pilots: studies of their own by which the choices of another one were made.

They are found by the name that they give themselves, in the study files beside the one that names
them, in a folder `studies` there, and where kdpipe was started.
"""

from pathlib import Path

from kdpipe.errors import KdpipeError, StudyError
from kdpipe.plan import planner
from kdpipe.plan.items import Plan
from kdpipe.study import checking, yaml_file
from kdpipe.study.grammar import Study


def named(study: Study, plan: Plan, folder: Path) -> list[dict]:
    """The pilots that a study names, each with its file and what it shares with the study.

    Raises KdpipeError if one of them has a run of the study: it would be tested on what it was
    chosen by.
    """
    found = []
    for name in study.pilots:
        path = file_of(name, folder)
        if path is None:
            found.append({"study": name, "file": None})
            continue
        shared = plan.runs.keys() & planner.make(checking.load(path)).runs.keys()
        if shared:
            raise KdpipeError(
                f"pilots: {name} ({path}) has {len(shared):,} runs of this study, {min(shared)} "
                "among them: a study is not tested on the runs that its choices were made by; "
                "give it other seeds"
            )
        found.append({"study": name, "file": path.name})
    return found


def file_of(name: str, folder: Path) -> Path | None:
    """The study file in which a study of that name stands; None if there is none."""
    for place in dict.fromkeys((folder, folder / "studies", Path(), Path("studies"))):
        for path in sorted(place.glob("*.yaml")):
            try:
                content = yaml_file.read(path)
            except StudyError:
                continue
            if isinstance(content, dict) and content.get("study") == name:
                return path
    return None


def load(name: str, folder: Path) -> Study:
    """The study of that name. Raises KdpipeError if there is none."""
    path = file_of(name, folder)
    if path is None:
        raise KdpipeError(
            f"--pilot {name}: no study file says study: {name}; looked at were those in {folder}, "
            "in the current folder, and in studies/ of both"
        )
    return checking.load(path)

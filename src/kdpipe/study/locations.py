"""The paths in a study file: written as seen from the file, absolute in a `Study`."""

import os
import re
from pathlib import Path

from kdpipe.data.keys import REST
from kdpipe.study import asked


def located(content: object, folder: Path) -> object:
    """The content of a study file in `folder` with its paths absolute; the given one is kept."""
    if not isinstance(content, dict):
        return content
    content = dict(content)
    if has_own_code(content):
        code = content.get("code")
        content["code"] = _absolute(folder, "." if code is None else code)
    if content.get("registration") is not None:
        content["registration"] = _absolute(folder, content["registration"])
    elif (path := _registered(folder, content.get("study"))) is not None:
        content["registration"] = str(path)
    if "data" in content:
        content["data"] = _seen_from(folder, content["data"])
    for key in ("pretrained", "starts"):
        if isinstance(content.get(key), dict):
            content[key] = {
                name: _seen_from(folder, source) for name, source in content[key].items()
            }
    if isinstance(content.get("transfers"), dict):
        content["transfers"] = {
            name: part | {"data": _seen_from(folder, part["data"])}
            if isinstance(part, dict) and "data" in part
            else part
            for name, part in content["transfers"].items()
        }
    return content


def registration_of(folder: Path, study: str) -> Path:
    """Where the registration of a study lies, whose file is in a folder."""
    return Path(os.path.abspath(folder / f"{study}.registration.json"))


def _registered(folder: Path, study: object) -> Path | None:
    """The registration beside a study file, if there is one."""
    if not isinstance(study, str) or not re.fullmatch(r"[\w-]{1,40}", study):
        return None
    path = registration_of(folder, study)
    return path if path.is_file() else None


def has_own_code(content: dict) -> bool:
    """Whether a study names a module of one's own: of a network, a term, a table or a figure."""
    named = [content.get(key) for key in ("tables", "figures")]
    shown = any(asked.own(each) for each in named if isinstance(each, dict))
    return bool(content.get("networks")) or has_own_terms(content) or shown


def has_own_terms(content: dict) -> bool:
    """Whether a method of the study names a term of one's own."""
    methods = content.get("methods")
    asked = methods.values() if isinstance(methods, dict) else ()
    return any(isinstance(method, dict) and method.get("term") for method in asked)


def _seen_from(folder: Path, part: object) -> object:
    if not isinstance(part, dict):
        return part
    located = ("path", "card") if part.get("unlabelled") == REST else ("path", "card", "unlabelled")
    return {
        key: _absolute(folder, value) if key in located else value for key, value in part.items()
    }


def _absolute(folder: Path, value: object) -> object:
    if isinstance(value, str) and value and "\0" not in value:
        return os.path.abspath(folder / value)
    return value

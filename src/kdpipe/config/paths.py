"""The paths in a study file: relative to the file, absolute in a `Study`.

The names of tables and claims for the report of a study.

Both are files of packages that import this one; only file names are read here, so that a study is
checked without pandas.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from kdpipe import registry
from kdpipe.data.config import REST
from kdpipe.json_types import JsonObject, is_object


def list_tables() -> tuple[str, ...]:
    """Return the names of the tables, the files in `report/tables`."""
    return registry.list_names("kdpipe.report.tables")


def select_custom(names: Iterable[object]) -> list[str]:
    """Return the names of custom tables or figures, written as module.NAME."""
    return [name for name in names if isinstance(name, str) and "." in name]


def find_custom_files(names: Iterable[object], code: str | None) -> Iterator[Path]:
    """Yield the files of the modules that define custom tables or figures.

    Parameters
    ----------
    names : iterable
        Names of tables or figures, custom or not.
    code : str or None
        The folder of the modules.

    Yields
    ------
    Path
    """
    for module in dict.fromkeys(name.rpartition(".")[0] for name in select_custom(names)):
        path_stem = Path(code or "") / module.replace(".", "/")
        candidates = (path_stem.with_suffix(".py"), path_stem / "__init__.py")
        yield from (path for path in candidates if path.is_file())


def list_claims() -> dict[str, str]:
    """Return the ids of the claims (C1, C11s) with the names of their files, in numeric order."""
    files = registry.list_names("kdpipe.analysis.claims")
    return {
        file.partition("_")[0].capitalize(): file for file in sorted(files, key=_claim_sort_key)
    }


def _claim_sort_key(file: str) -> tuple[str, int, str]:
    """Return the letters and the number at the start of a file name."""
    match = re.match(r"([a-z]+)([0-9]+)", file)
    return (match[1], int(match[2]), file) if match else (file, 0, file)


def resolve_paths(content: object, folder: Path) -> object:
    """Return the content of a study file with absolute paths.

    Parameters
    ----------
    content : object
        The content of the file; not modified.
    folder : Path
        The folder of the file.

    Returns
    -------
    object
        A copy, in which `code` has its default and `registration` is the file next to the study, if
        there is one.
    """
    if not is_object(content):
        return content
    content = dict(content)
    if has_custom_code(content) and content.get("code") is None:
        content["code"] = "."
    if content.get("registration") is None:
        path = _find_registration(folder, content.get("study"))
        content |= {"registration": str(path)} if path is not None else {}
    return _map_paths(content, lambda value: _make_absolute(folder, value))


def make_paths_relative(content: JsonObject, folder: Path) -> JsonObject:
    """Return the content of a study with its paths relative to the folder of its file.

    A path that has nothing but the root in common with the folder stays absolute.

    Parameters
    ----------
    content : dict
        The content of a `Study`; not modified.
    folder : Path
        The folder of the file.
    """
    folder = folder.absolute()

    def make_relative(value: object) -> object:
        if not isinstance(value, str) or not os.path.isabs(value):
            return value
        is_elsewhere = os.path.commonpath([value, folder]) == folder.anchor
        return value if is_elsewhere else os.path.relpath(value, folder)

    return _map_paths(content, make_relative)


def _map_paths(content: JsonObject, convert: Callable[[object], object]) -> JsonObject:
    """Return a copy of the content of a study, with another value in the place of each path."""
    content = dict(content)
    for key in ("code", "registration") if has_custom_code(content) else ("registration",):
        if content.get(key) is not None:
            content[key] = convert(content[key])
    if "data" in content:
        content["data"] = _map_section(content["data"], convert)
    for key in ("pretrained", "starts"):
        if is_object(content.get(key)):
            content[key] = {
                name: _map_section(source, convert) for name, source in content[key].items()
            }
    if is_object(content.get("transfers")):
        content["transfers"] = {
            name: section | {"data": _map_section(section["data"], convert)}
            if is_object(section) and "data" in section
            else section
            for name, section in content["transfers"].items()
        }
    return content


def registration_path(folder: Path, study: str) -> Path:
    """Return the path of the registration of a study.

    Parameters
    ----------
    folder : Path
        The folder of the study file.
    study : str
        The name of the study.

    Returns
    -------
    Path
        An absolute path, whether the file exists or not.
    """
    return Path(os.path.abspath(folder / f"{study}.registration.json"))


def _find_registration(folder: Path, study: object) -> Path | None:
    """Return the registration next to a study file, if there is one."""
    if not isinstance(study, str) or not re.fullmatch(r"[\w-]{1,40}", study):
        return None
    path = registration_path(folder, study)
    return path if path.is_file() else None


def has_custom_code(content: JsonObject) -> bool:
    """Return whether a study has a custom network, loss term, table or figure."""
    sections = [content.get(key) for key in ("tables", "figures")]
    has_custom_reports = any(select_custom(section) for section in sections if is_object(section))
    return bool(content.get("networks")) or has_custom_terms(content) or has_custom_reports


def has_custom_terms(content: JsonObject) -> bool:
    """Return whether a method of a study has a custom loss term."""
    methods = content.get("methods")
    sections = methods.values() if is_object(methods) else ()
    return any(is_object(method) and method.get("term") for method in sections)


def _map_section(section: object, convert: Callable[[object], object]) -> object:
    """Return a section with another value in the place of each path."""
    if not is_object(section):
        return section
    path_keys = (
        ("path", "card") if section.get("unlabelled") == REST else ("path", "card", "unlabelled")
    )
    return {key: convert(value) if key in path_keys else value for key, value in section.items()}


def _make_absolute(folder: Path, value: object) -> object:
    """Return a path as absolute; any other value unchanged, for pydantic to reject."""
    if isinstance(value, str) and value and "\0" not in value:
        return os.path.abspath(folder / value)
    return value

"""How a folder of one's own images is laid out, before it has a card: which folders are parts.

    PATH/train and PATH/test or PATH/val, by these names or as Training, Testing, valid, Validation
    PATH/CLASS, where no folder is a part

What that means for the person is asked where it cannot be seen, and never guessed.
"""

from pathlib import Path
from typing import NamedTuple

from kdpipe.data.own.folders import classes_in, refuse_lost
from kdpipe.errors import DataError
from kdpipe.wording import listed, printable

# By what names, in whatever case, a part is known.
WORDS = {
    "train": {"train", "training"},
    "test": {"test", "testing"},
    "val": {"val", "valid", "validation"},
}


class Layout(NamedTuple):
    """The folders of the parts by part, none where all folders are classes; and what val is."""

    parts: dict[str, str]
    val: str | None  # validation, test, or None where there is none

    @property
    def tested(self) -> bool:
        """Whether there is a test set; else a share of train has to be held out."""
        return "test" in self.parts or self.val == "test"

    @property
    def made(self) -> dict:
        """What a card says of it (`Card.made`)."""
        other = {part: name for part, name in self.parts.items() if name != part}
        return {"val": self.val} | ({"parts": other} if other else {})


def of(path: Path, val_is: str | None = None) -> Layout:
    """The layout of a folder. Raises DataError with the question where nobody has said what val is.

    val_is: `validation` or `test`, what somebody said.
    """
    refuse_lost(path)
    names = classes_in(path)
    parts = _parts(path, names)
    if not parts:
        if len(names) < 2:
            raise DataError(_no_classes(path, names))
        if val_is is not None:
            raise DataError(f"--val-is {val_is}: {path} has not both train/ and val/")
        return Layout({}, None)
    return Layout(parts, _val(path, parts, val_is))


def _parts(path: Path, names: list[str]) -> dict[str, str]:
    found = {part: [n for n in names if n.lower() in words] for part, words in WORDS.items()}
    if not found["train"] or not (found["test"] or found["val"]):
        return {}
    for part, several in found.items():
        if len(several) > 1:
            raise DataError(
                f"{path}: {listed(map(printable, several))} may each be {part}: move all but one "
                "of them out of the folder"
            )
    return {part: one[0] for part, one in found.items() if one}


def _no_classes(path: Path, names: list[str]) -> str:
    if not names:
        return (
            f"{path} has no folders: its images are to lie in one folder for each class, as "
            "PATH/cat/1.jpg and PATH/dog/1.jpg"
        )
    return (
        f"{path} has one folder only, {printable(names[0])}, which would be one class, and nothing "
        f"can be learned of one. If the classes lie in it, name it instead: "
        f"{printable(path / names[0])}"
    )


def _val(path: Path, parts: dict[str, str], said: str | None) -> str | None:
    if "val" not in parts:
        if said is not None:
            raise DataError(f"--val-is {said}: {path} has not both train/ and val/")
        return None
    name = printable(parts["val"])
    if "test" in parts and said == "test":
        raise DataError(
            f"{path} has {parts['test']}/ beside {name}/, which is for validation: no --val-is test"
        )
    if "test" not in parts and said is None:
        raise DataError(
            f"{path} has {parts['train']}/ and {name}/ and no test/. Are choices made on {name}/, "
            "or are results reported on it? Say --val-is test (nothing is chosen on it; the study "
            "holds validation images out of train), or --val-is validation (a share of train is "
            "held out as test: a fifth by kdpipe init, and kdpipe data wants --test-share 0.2)"
        )
    return said or "validation"

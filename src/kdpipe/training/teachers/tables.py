"""Teacher tables: what one teacher says of every image in every view, computed once.

Views are a finite set, so the outputs of a teacher checkpoint are a table (image, view, class),
shared by every student, seed, method and temperature that learns from it. Rows are centred (the
softmax does not see it) and stored in half precision; below T = 2, where rounding would show, in
single. A table lies in `results/tables/<name>/` until the last student that needs it is done.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch

from kdpipe import identity
from kdpipe.data import splits, streams
from kdpipe.data.images import Images, at_once
from kdpipe.data.views import Views
from kdpipe.devices import exact, memory
from kdpipe.errors import StoreError
from kdpipe.identity import stream
from kdpipe.results import leftovers, parents, store
from kdpipe.results.files import read_arrays, write_arrays, write_json, write_npy
from kdpipe.specs.equipment import CPU, Means
from kdpipe.specs.made import table_name, table_spec, unlabelled_of
from kdpipe.training.teachers import live
from kdpipe.training.teachers.average import ensemble_logits

CHECKED = 16  # entries compared with a live forward whenever a table is opened
# Half precision has 11 bits; and a table may be older than what is now asked of a GPU (TF32).
TOLERANCE = 5e-3


def build(spec: dict, place: store.Store, means: Means = CPU) -> Path:
    """Write the table of a spec; returns its folder. Raises StoreError if it is not finite.

    Each view is a file of its own until all are there, so one that is interrupted goes on. Nobody
    else may build it at the same time (`jobs.tabulate` sees to that).
    """
    digest = identity.digest(spec)
    folder = place.table(table_name(spec, digest))
    torch.set_num_threads(spec["threads"])
    where = exact.torch_device(means.device, means.kernels)
    teacher = _teacher(spec, place, where, means.code)
    images = _images(spec, place, where, means.workers)
    work = workshop(folder)
    made_of = _weights(spec, place)
    parts = []
    for view in range(images.views.count):
        part = work / f"{digest[:12]}-{view}.safetensors"
        about = {"table": digest, "view": view, "weights": made_of}
        if _read(part, about) is None:
            write_arrays(part, {"part": _of_view(teacher, images, view, spec)}, about)
        parts.append(_read(part, about))
    table = np.stack(parts, axis=1)
    # Made aside and renamed: a table is there whole or not at all.
    new = work / "table"
    write_npy(new / "table.npy", table)
    write_json(
        new / "about.json", {"digest": digest, "weights": made_of, "sha256": _checksum(table)}
    )
    leftovers.discard(folder)
    os.replace(new, folder)
    for path in leftovers.of_workshop(work):
        path.unlink(missing_ok=True)
    return folder


def workshop(folder: Path) -> Path:
    """Where a table is made: a folder beside its own, which stays and holds the lock."""
    return folder.with_name(f".{folder.name}")


def _read(part: Path, about: dict) -> np.ndarray | None:
    """One view as it was written; None where it is to be made, again if it was damaged."""
    with contextlib.suppress(StoreError):
        arrays, found = read_arrays(part)
        return arrays["part"] if found == about else None
    return None


def _of_view(
    teacher: live.Live, images: Images | streams.Streams, view: int, spec: dict
) -> np.ndarray:
    """(images, classes) of one view; the device is waited for once."""
    order = torch.arange(len(images))

    def ask(size: int) -> torch.Tensor:
        batches = images.batches(order, torch.full_like(order, view), size)
        most = at_once(images)
        return torch.cat([_centred(teacher.forward(x, most)) for _, _, x in batches])

    found = memory.halved(images, ask).to(getattr(torch, spec["precision"])).cpu().numpy()
    if not np.isfinite(found).all():  # what did not fit has become infinite
        raise StoreError(
            f"the outputs of {spec['network']['name']} do not fit in {spec['precision']}: write "
            "teacher_outputs: live in the study"
        )
    return found


def of(
    spec: dict, place: store.Store, device: torch.device, code: Path | None
) -> "live.Live | Tables | None":
    """The teacher of a run, live or from tables; None of one that learns from labels alone."""
    if spec["teacher"] is None:
        return None
    way = live.load if spec["teacher"]["outputs"] == "live" else load
    return way(spec, place, device, code)


def load(
    spec: dict,
    place: store.Store,
    device: torch.device | str = "cpu",
    code: Path | None = None,
    unlabelled: dict | None = None,
) -> "Tables":
    """The teacher of a run whose outputs are tables. Raises StoreError for one that is damaged.

    Tables of its training images, or of those without labels that `unlabelled` says.
    """
    teacher = spec["teacher"]
    precision = teacher["outputs"]
    specs = [
        table_spec(parents.spec(each, place), each["run"], each["epoch"], precision, unlabelled)
        for each in teacher["members"]
    ]
    return Tables(specs, live.average_temperature(spec), place, device, code)


class Tables:
    """One table, or the tables of an ensemble's members; answers like a live teacher."""

    def __init__(
        self,
        specs: list[dict],
        temperature: float,
        place: store.Store,
        device: torch.device | str = "cpu",
        code: Path | None = None,
    ):
        self.temperature = temperature
        self.place = place
        self.specs = specs
        self.views = Views.of(specs[0]["data"]["views"])
        tables = [torch.from_numpy(_open(spec, place)) for spec in specs]
        for spec, table in zip(specs, tables, strict=True):
            _compare(spec, table, place, device, code)
        self.tables = [table.to(device) for table in tables]  # mapped from disk where it is a CPU

    def logits(self, x: torch.Tensor, index: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """(B, C) float32 for images `index` (B,) in views `view` (B,); x is not looked at."""
        return self._averaged([table[index, view].float() for table in self.tables])

    def answers(self, split: str, images: Images | streams.Streams) -> np.ndarray:
        """Logits (N, C) of the images as they are: from the table, or the stored outputs."""
        if split == "train":
            found = [table[:, self.views.centre].float() for table in self.tables]
        else:
            outputs = [parents.outputs(spec, self.place) for spec in self.specs]
            found = [torch.from_numpy(each[f"{split}_logits"]) for each in outputs]
        return self._averaged(found).cpu().numpy()

    def digest(self) -> str:
        """Tables are mapped read-only: nothing can have changed them."""
        return ""

    def _averaged(self, members: list[torch.Tensor]) -> torch.Tensor:
        if len(members) == 1:
            return members[0]
        return ensemble_logits(torch.stack(members), self.temperature)


def _open(spec: dict, place: store.Store) -> np.ndarray:
    digest = identity.digest(spec)
    folder = place.table(table_name(spec, digest))
    try:
        about = json.loads((folder / "about.json").read_bytes())
        table = np.load(folder / "table.npy", mmap_mode="c")
        made_of = about.get("weights")
        sound = about["digest"] == digest and about["sha256"] == _checksum(table)
        # The checksum is of bytes: one of the header may say that they are other numbers.
        sound &= table.dtype == np.dtype(spec["precision"]) and table.flags.c_contiguous
    except Exception as error:  # numpy reads a header as Python text: it ends in anything
        why = type(error).__name__  # and advises to unpickle what is none
        raise StoreError(f"the teacher table {folder} cannot be read ({why}): {_CURE}") from None
    if not sound:
        raise StoreError(f"the teacher table {folder} is damaged or another's: {_CURE}")
    if made_of != _weights(spec, place):
        raise StoreError(f"the teacher table {folder} is of other weights than now: {_CURE}")
    return table


def _compare(
    spec: dict,
    table: torch.Tensor,
    place: store.Store,
    device: torch.device | str,
    code: Path | None,
) -> None:
    """Some entries against a live forward: a table of other views or pixels is found out."""
    images = _images(spec, place, device)
    generator = torch.Generator().manual_seed(stream(0, 0, 0, spec["run"], "check"))
    index = torch.randint(len(images), (CHECKED,), generator=generator)
    view = torch.randint(images.views.count, (CHECKED,), generator=generator)
    shape = (len(images), images.views.count)
    if table.shape[:2] != shape or table.dtype != getattr(torch, spec["precision"]):
        raise StoreError(
            f"the teacher table of {spec['network']['name']} has the shape {tuple(table.shape)} "
            f"and is no {spec['precision']} of {shape[0]} images in {shape[1]} views: {_CURE}"
        )
    ((_, _, x),) = images.batches(index, view, CHECKED)
    said = _centred(_teacher(spec, place, device, code).forward(x)).cpu()
    tolerance = TOLERANCE * (1 + float(said.abs().max()))
    if not torch.allclose(table[index, view].float(), said, rtol=0, atol=tolerance):
        raise StoreError(
            f"the teacher table of {spec['network']['name']} does not say what its teacher says: "
            f"{_CURE}"
        )


_CURE = "remove it and run the study again, it is then made anew"


def _teacher(
    spec: dict,
    place: store.Store,
    device: torch.device | str = "cpu",
    code: Path | None = None,
) -> live.Live:
    parent = {"run": spec["run"], "epoch": spec["epoch"]}
    layout, model = live.member(parent, spec["network"], place, code)
    return live.Live([(layout, model.to(device))])


def _weights(spec: dict, place: store.Store) -> str:
    """The SHA-256 of the weights that a table tells of."""
    return parents.made_of([spec], place)[0]["sha256"]


def _images(
    spec: dict, place: store.Store, device: torch.device | str = "cpu", workers: int = 0
) -> Images | streams.Streams:
    split = splits.load(spec["data"], place)
    views = Views.of(spec["data"]["views"])
    part = split.train
    if of := unlabelled_of(spec):
        part = splits.unlabelled(spec["data"], of["unlabelled_from"], place)
    return streams.images(part, views, split, device, workers)


def _checksum(table: np.ndarray) -> str:
    return hashlib.sha256(table.data).hexdigest()


def _centred(logits: torch.Tensor) -> torch.Tensor:
    return logits - logits.mean(1, keepdim=True)

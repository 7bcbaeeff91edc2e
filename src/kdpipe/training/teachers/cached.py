"""Logit caches: the logits of one teacher for every image in every view, computed once.

Views are a finite set, so the outputs of a teacher checkpoint are an array (image, view, class),
shared by every student, seed, method and temperature that uses it. Rows are centered (softmax is
invariant to that) and stored in half precision; below T = 2, where rounding would matter, in single
precision. A teacher that answers in bfloat16 is asked so here, and when a cache is checked. A cache
is in `results/tables/<name>/` until the last student that needs it is finished.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdpipe.data import splits, streaming
from kdpipe.data.batches import ImageBatches, limit_batch_size
from kdpipe.data.views import IDENTITY_VIEWS, Views
from kdpipe.devices import cuda_errors, determinism
from kdpipe.errors import StoreError
from kdpipe.hashing import derive_seed
from kdpipe.runs import ownership, store, upstream
from kdpipe.runs.execution_options import CPU_OPTIONS, ExecutionOptions
from kdpipe.runs.files import (
    map_npy,
    read_arrays,
    read_regular_file,
    write_arrays,
    write_json,
    write_npy,
)
from kdpipe.runs.ownership import CACHE_INFO_FILE
from kdpipe.runs.records import ROUNDING_KEY
from kdpipe.runs.spec import LogitCacheSpec, RunSpec, build_logit_cache_spec
from kdpipe.training.teachers import bfloat16, online

N_CHECKED = 16  # entries that are compared with a forward pass when a cache is opened
# Half precision has 11 bits, and a cache may be older than the GPU's present mode (TF32).
TOLERANCE = 5e-3
TOLERANCE_BFLOAT16 = 5e-2  # of a teacher in bfloat16: batches of another size round otherwise
_REBUILD_HINT = "remove it and run the study again to recompute it"


def build_logit_cache(
    spec: LogitCacheSpec, store: store.Store, options: ExecutionOptions = CPU_OPTIONS
) -> Path:
    """Compute and write the logit cache of a spec, and return its folder.

    Each view is a file until all are complete, so an interrupted build can be resumed. Two jobs
    must not build one cache at the same time (`jobs.cache_logits` has a lock).

    Raises
    ------
    StoreError
        If logits are not finite in the precision of the cache.
    """
    digest = spec.digest
    folder = store.logit_cache(spec.name)
    torch.set_num_threads(spec.threads)
    device = determinism.prepare_torch_device(options.device, options.kernels)
    teacher = _load_cache_teacher(spec, store, device, options.code)
    images = _load_images(spec, store, device, options.workers)
    build_dir = cache_build_dir(folder)
    weights_digest = _weights_digest(spec, store)
    parts = []
    for view in range(images.views.cached_count):
        part = build_dir / f"{digest[:12]}-{view}.safetensors"
        header = {"table": digest, "view": view, "weights": weights_digest}
        if _read_view(part, header) is None:
            write_arrays(part, {"part": _compute_view(teacher, images, view, spec)}, header)
        parts.append(_read_view(part, header))
    table = np.stack(parts, axis=1)
    # Built in another folder and renamed, so that a cache is complete or absent.
    new = build_dir / "table"
    write_npy(new / "table.npy", table)
    info = {"digest": digest, "weights": weights_digest, "sha256": _digest_array(table)}
    rounding = teacher.measure_rounding(_load_eval_images(spec, store, device, options.workers))
    write_json(new / CACHE_INFO_FILE, info | ({ROUNDING_KEY: rounding} if rounding else {}))
    ownership.remove_tree(folder)
    os.replace(new, folder)
    for path in ownership.list_build_leftovers(build_dir):
        path.unlink(missing_ok=True)
    return folder


def cache_build_dir(folder: Path) -> Path:
    """Return the build folder of a cache, next to its own, which stays and holds the lock."""
    return folder.with_name(f".{folder.name}")


def _read_view(part: Path, header: dict) -> np.ndarray | None:
    """Return one view from its file; None if it is missing or damaged."""
    with contextlib.suppress(StoreError):
        arrays, stored_header = read_arrays(part)
        return arrays["part"] if stored_header == header else None
    return None


def _compute_view(
    teacher: online.OnlineTeacher,
    images: ImageBatches | streaming.StreamedBatches,
    view: int,
    spec: LogitCacheSpec,
) -> np.ndarray:
    """Return the logits of one view (images, classes), with a single device synchronization."""
    order = torch.arange(len(images))

    def run_batches(size: int) -> torch.Tensor:
        if images.views.drawn and view == images.views.identity_view:
            batches = images.unaugmented_batches(size)
        else:
            views = torch.full_like(order, view)
            batches = (x for _, _, x in images.batches(order, views, size))
        max_batch = limit_batch_size(images)
        return torch.cat([_center_logits(teacher.forward(x, max_batch)) for x in batches])

    outputs = (
        cuda_errors.retry_halving_batch(images, run_batches)
        .to(getattr(torch, spec.precision))
        .cpu()
        .numpy()
    )
    if not np.isfinite(outputs).all():  # overflows became infinite
        raise StoreError(
            f"the outputs of {spec.network.name} overflow {spec.precision}: set teacher_outputs: "
            "live in the study"
        )
    return outputs


def load_teacher(
    spec: RunSpec, store: store.Store, device: torch.device, code: Path | None
) -> "online.OnlineTeacher | CachedTeacher | None":
    """Return the teacher of a run, online or cached; None for a run on labels alone."""
    if spec.teacher is None:
        return None
    load_source = (
        online.load_online_teacher if spec.teacher.outputs == "live" else load_cached_teacher
    )
    return load_source(spec, store, device, code)


def load_cached_teacher(
    spec: RunSpec,
    store: store.Store,
    device: torch.device | str = "cpu",
    code: Path | None = None,
    unlabelled: dict | None = None,
) -> "CachedTeacher":
    """Return the teacher of a run whose outputs are cached.

    Parameters
    ----------
    spec : RunSpec
    store : Store
    device : torch.device or str
    code : Path, optional
        The folder of custom code.
    unlabelled : dict, optional
        The unlabelled images of the caches; by default the training images.

    Raises
    ------
    StoreError
        If a cache is damaged, or belongs to another teacher.
    """
    assert spec.teacher is not None
    specs = [
        build_logit_cache_spec(
            upstream.load_parent_spec(member, store),
            member.run,
            member.epoch,
            spec.teacher.outputs,
            unlabelled,
            spec.data,
            spec.teacher.teacher_precision,
        )
        for member in spec.members
    ]
    return CachedTeacher(specs, online.average_temperature(spec), store, device, code)


class CachedTeacher:
    """One logit cache, or those of an ensemble's members; used like an online teacher."""

    def __init__(
        self,
        specs: list[LogitCacheSpec],
        temperature: float,
        store: store.Store,
        device: torch.device | str = "cpu",
        code: Path | None = None,
    ):
        self.temperature = temperature
        self.store = store
        self.specs = specs
        self.views = Views.from_spec(specs[0].data.views)
        tables = [torch.from_numpy(_open_cache(spec, store)) for spec in specs]
        for spec, table in zip(specs, tables, strict=True):
            _check_against_teacher(spec, table, store, device, code)
        self.tables = [table.to(device) for table in tables]  # memory-mapped on a CPU
        infos = [_read_info(store.logit_cache(spec.name)) for spec in specs]
        self.roundings = [info[ROUNDING_KEY] for info in infos if ROUNDING_KEY in info]

    def logits(self, x: torch.Tensor, index: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        """Return logits (B, C) float32 of images `index` (B,) in views `view` (B,)."""
        members = [table[index, view].float() for table in self.tables]
        return online.average_logits(members, self.temperature)

    def predict_split(
        self, split: str, images: ImageBatches | streaming.StreamedBatches
    ) -> np.ndarray:
        """Return logits (N, C) of unaugmented images, from the cache or from stored outputs."""
        if split == "train":
            members = [table[:, self.views.identity_view].float() for table in self.tables]
        else:
            outputs = [upstream.load_outputs(spec.members[0], self.store) for spec in self.specs]
            members = [torch.from_numpy(each[f"{split}_logits"]) for each in outputs]
        return online.average_logits(members, self.temperature).cpu().numpy()

    def measure_rounding(self, images: object) -> dict[str, Any] | None:
        """Return what was measured when the cache was built; of an ensemble the largest member's.

        See `online.OnlineTeacher.measure_rounding`.
        """
        return max(self.roundings, key=lambda each: each["largest_error"], default=None)

    def digest(self) -> str:
        """Return an empty digest: caches are mapped read-only and cannot change."""
        return ""


def _open_cache(spec: LogitCacheSpec, store: store.Store) -> np.ndarray:
    """Return a memory-mapped cache; raise StoreError if it is not the expected one."""
    digest = spec.digest
    folder = store.logit_cache(spec.name)
    try:
        header = _read_info(folder)
        table = map_npy(folder / "table.npy", "c")
        weights_digest = header.get("weights")
        is_valid = header["digest"] == digest and header["sha256"] == _digest_array(table)
        # The checksum covers the data only: a damaged header may give another type.
        is_valid &= table.dtype == np.dtype(spec.precision) and table.flags.c_contiguous
    except Exception as error:  # NumPy evaluates a header as Python text and can raise anything
        error_name = type(error).__name__  # its message would suggest unpickling the file
        raise StoreError(
            f"the logit cache {folder} cannot be read ({error_name}): {_REBUILD_HINT}"
        ) from None
    if not is_valid:
        raise StoreError(
            f"the logit cache {folder} is damaged or belongs to another spec: {_REBUILD_HINT}"
        )
    if weights_digest != _weights_digest(spec, store):
        raise StoreError(
            f"the logit cache {folder} was computed from other weights: {_REBUILD_HINT}"
        )
    return table


def _check_against_teacher(
    spec: LogitCacheSpec,
    table: torch.Tensor,
    store: store.Store,
    device: torch.device | str,
    code: Path | None,
) -> None:
    """Raise StoreError if entries differ from a forward pass, for instance for other views."""
    images = _load_images(spec, store, device)
    generator = torch.Generator().manual_seed(derive_seed(0, 0, 0, spec.run, "check"))
    index = torch.randint(len(images), (N_CHECKED,), generator=generator)
    view = torch.randint(images.views.count, (N_CHECKED,), generator=generator)
    shape = (len(images), images.views.cached_count)
    if table.shape[:2] != shape or table.dtype != getattr(torch, spec.precision):
        raise StoreError(
            f"the logit cache of {spec.network.name} has shape {tuple(table.shape)}, expected "
            f"{spec.precision} of {shape[0]} images in {shape[1]} views: {_REBUILD_HINT}"
        )
    ((_, _, x),) = images.batches(index, view, N_CHECKED)
    logits = _center_logits(_load_cache_teacher(spec, store, device, code).forward(x)).cpu()
    is_half = spec.teacher_precision == "bfloat16"
    tolerance = TOLERANCE_BFLOAT16 if is_half else TOLERANCE
    tolerance *= 1 + float(logits.abs().max())
    if not torch.allclose(table[index, view].float(), logits, rtol=0, atol=tolerance):
        raise StoreError(
            f"the logit cache of {spec.network.name} differs from its teacher's outputs: "
            f"{_REBUILD_HINT}"
        )


def _load_cache_teacher(
    spec: LogitCacheSpec,
    store: store.Store,
    device: torch.device | str = "cpu",
    code: Path | None = None,
) -> online.OnlineTeacher:
    """Return the online teacher whose logits are cached."""
    (parent,) = spec.members
    layout, model = online.load_member(parent, spec.network, store, code)
    is_half = spec.teacher_precision == "bfloat16"
    if is_half:
        bfloat16.convert_model(model)
    data = upstream.load_parent_spec(parent, store).data
    renormalization = online.load_renormalization(spec.data, data, store, device)
    return online.OnlineTeacher(
        [(layout, model.to(device))],
        renormalizations=[renormalization],
        stored=(lambda: [upstream.load_outputs(parent, store)]) if is_half else None,
    )


def _weights_digest(spec: LogitCacheSpec, store: store.Store) -> str:
    """Return the SHA-256 of the weights whose logits are cached."""
    return upstream.list_parent_checksums(spec.members, store)[0]["sha256"]


def _load_images(
    spec: LogitCacheSpec, store: store.Store, device: torch.device | str = "cpu", workers: int = 0
) -> ImageBatches | streaming.StreamedBatches:
    """Return the images of a cache."""
    split = splits.load_split(spec.data, store)
    views = Views.from_spec(spec.data.views)
    part = split.train
    if spec.unlabelled_from is not None:
        part = splits.load_unlabelled(spec.data, spec.unlabelled_from, store)
    return streaming.create_batches(part, views, split, device, workers)


def _load_eval_images(
    spec: LogitCacheSpec, store: store.Store, device: torch.device | str, workers: int
) -> dict[str, ImageBatches | streaming.StreamedBatches]:
    """Return the unaugmented images of validation and test, without those of an empty split."""
    split = splits.load_split(spec.data, store)
    return {
        name: streaming.create_batches(part, IDENTITY_VIEWS, split, device, workers)
        for name, part in (("val", split.val), ("test", split.test))
        if len(part)
    }


def _read_info(folder: Path) -> dict[str, Any]:
    """Return what a cache says about itself."""
    return json.loads(read_regular_file(folder / CACHE_INFO_FILE))


def _digest_array(table: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(table.data).hexdigest()


def _center_logits(logits: torch.Tensor) -> torch.Tensor:
    """Return the logits of each image minus their mean."""
    return logits - logits.mean(1, keepdim=True)

"""What a bug report needs to know: versions, hardware, cluster, and the last failure."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator

import kdpipe
from kdpipe import version
from kdpipe.devices import gpus, host
from kdpipe.runs.run_folder import FAILURE_FILE
from kdpipe.runs.store import Store
from kdpipe.text import escape

PACKAGES = ("torch", "torchvision", "snakemake", "numpy", "pandas", "pydantic", "safetensors")
EXTRA_PACKAGES = ("onnx", "onnxruntime", "timm")
SLURM_PLUGIN = "snakemake-executor-plugin-slurm"
SLURM_COMMANDS = ("sbatch", "squeue", "sacct", "scancel")


def describe_installation(store: Store) -> Iterator[tuple[str, str]]:
    """Yield the facts of a bug report, each with its name.

    Nothing is imported but kdpipe's own modules, so that a broken installation of a library does
    not hide the rest.

    Parameters
    ----------
    store : Store
        The results whose last failure is shown.
    """
    commit = version.git_revision()
    yield "kdpipe", f"{kdpipe.__version__}{f', git {commit}' if commit else ''}"
    yield "installed in", str(version.PACKAGE_ROOT)
    yield "python", f"{platform.python_version()}, {platform.platform()}"
    for package in (*PACKAGES, *EXTRA_PACKAGES):
        yield package, _find_version(package)
    yield "processor", f"{host.read_cpu_model()}, {len(os.sched_getaffinity(0))} cores"
    yield "memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    yield "compiler", host.find_missing_toolchain("cpu") or "found"
    yield "GPUs", _describe_gpus()
    found = [command for command in SLURM_COMMANDS if shutil.which(command)]
    plugin = _find_version(SLURM_PLUGIN)
    yield "SLURM", f"{', '.join(found) or 'none of its commands was found'}; plugin {plugin}"
    folder = next(path for path in (store.root, *store.root.parents) if path.exists())
    free = shutil.disk_usage(folder).free / 2**30
    yield "results", f"{store.root.absolute()}, {free:.0f} GiB free"
    yield "last failure", _find_last_failure(store)


def _find_version(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _describe_gpus() -> str:
    """Return the GPUs, the driver, and why torch cannot use them."""
    names = gpus.list_gpus()
    if not names:
        return "none"
    reason = gpus.find_unusable_reason()
    driver = gpus.query_driver_version() or "unknown"
    unusable = f"; unusable: {_join_lines(reason)}" if reason else ""
    return f"{', '.join(names)}; driver {driver}{unusable}"


def _find_last_failure(store: Store) -> str:
    """Return the job that failed last, with the reason."""
    failures = [(path.stat().st_mtime, path) for path in store.root.glob(f"*/*/{FAILURE_FILE}")]
    if not failures:
        return "none"
    _, path = max(failures)
    kind, name = path.parent.parent.name, path.parent.name
    return f"{kind}/{name}: {_join_lines(store.failure_reason(kind, name) or '')}"


def _join_lines(text: str) -> str:
    """Return a message on one line, with nothing in it that a terminal would obey."""
    return escape(" ".join(text.split()))

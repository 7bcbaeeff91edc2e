"""Runs all checks of a GPU, one after another, each in a separate process, in ten minutes.

The results are printed as a table, and written to a JSON file.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kdpipe import registry
from kdpipe.devices import gpus, leases
from kdpipe.errors import KdpipeError
from kdpipe.gpu_check import fixtures
from kdpipe.gpu_check.check import Check, Outcome
from kdpipe.gpu_check.fixtures import CheckFixture
from kdpipe.runs.files import write_json

MAX_MINUTES = 10  # for all checks together
STATUS_WORDS = {True: "pass", False: "FAIL", None: "-"}


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes
    ----------
    name : str
        Name of its file.
    check : Check
        The check.
    outcome : Outcome
        Its outcome.
    seconds : float
        Its duration.
    """

    name: str
    check: Check
    outcome: Outcome
    seconds: float


def load_checks() -> dict[str, Check]:
    """Return all checks by name, in order."""
    checks = registry.load_all_objects("kdpipe.gpu_check.checks", "CHECK", Check)
    return dict(sorted(checks.items(), key=lambda item: item[1].order))


def select_gpu() -> str:
    """Select the GPU to check, and hide the others from all subsequent processes.

    Returns
    -------
    str
        Its UUID.

    Raises
    ------
    KdpipeError
        If there is no GPU, torch cannot use it, or a run is using it.
    """
    ids = gpus.list_gpus()
    if not ids:
        raise KdpipeError(
            "there is no GPU here (CUDA_VISIBLE_DEVICES, nvidia-smi): nothing was checked"
        )
    if problem := gpus.find_unusable_reason():
        raise KdpipeError(f"torch cannot use the GPU here: {problem}")
    gpus.hide_unusable_gpus()
    ids = gpus.list_gpus()
    if not leases.is_free(ids[0]):
        raise KdpipeError(
            f"a run of kdpipe is using GPU {ids[0]}: wait for it, or choose another with "
            "CUDA_VISIBLE_DEVICES"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = ids[0]
    return ids[0]


def query_gpu_info() -> dict:
    """Return the GPU as in a record; a separate process reads it."""
    from kdpipe.devices import determinism

    def read_info() -> dict:
        """Read it, in the child process."""
        with leases.acquire_gpus("cuda", 1):
            determinism.prepare_torch_device("cuda")
            return dict(determinism.get_gpu_info())

    with tempfile.TemporaryDirectory() as folder:
        (info,) = fixtures.run_parallel(
            [read_info], Path(folder) / "log", time.monotonic() + gpus.PROBE_TIMEOUT
        )
    return info


def run_checks(quick: bool) -> Iterator[CheckResult]:
    """Run all checks, one after another; a timeout is a failure.

    Parameters
    ----------
    quick : bool
        Whether to use only the smallest study, which shows that all checks run.
    """
    _import_libraries()
    deadline = time.monotonic() + 60 * MAX_MINUTES
    with tempfile.TemporaryDirectory(prefix="kdpipe-gpu-check-") as folder:
        for name, check in load_checks().items():
            fixture, start = CheckFixture(Path(folder), quick, deadline), time.monotonic()
            yield CheckResult(name, check, _run_check(check, fixture), time.monotonic() - start)


def list_versions() -> dict[str, str]:
    """Return the versions of the relevant packages."""
    return {name: metadata.version(name) for name in ("kdpipe", "torch", "torchvision", "numpy")}


def _run_check(check: Check, fixture: CheckFixture) -> Outcome:
    """Run one check in a separate process."""
    if not fixture.time_left():
        return Outcome(None, f"the limit of {MAX_MINUTES} minutes was reached")
    try:
        (fields,) = fixture.run_forked(lambda: vars(check.function(fixture)))
    except fixtures.SubprocessError as error:
        return Outcome(False, str(error))
    return Outcome(**fields)


def _import_libraries() -> None:
    """Import the modules that child processes need, without using a GPU or starting a thread."""
    import torch

    torch.set_num_threads(1)
    from kdpipe.gpu_check import compare  # noqa: F401
    from kdpipe.jobs import cache_logits, train  # noqa: F401
    from kdpipe.training import benchmark, loop  # noqa: F401
    from kdpipe.training.teachers import cached  # noqa: F401


def format_row(result: CheckResult) -> str:
    """Return a row of the table; for a failure also the setting to use meanwhile."""
    outcome = result.outcome
    text = f"{STATUS_WORDS[outcome.passed]:<5} {result.check.title:<44} {outcome.message}"
    if outcome.passed is False:
        text += f"\n      {'meanwhile':<44} {result.check.meanwhile}"
    return text


def format_summary(results: Sequence[CheckResult], path: Path) -> str:
    """Return how many checks passed, and the path of the file."""
    failed = sum(result.outcome.passed is False for result in results)
    passed = sum(result.outcome.passed is True for result in results)
    seconds = sum(result.seconds for result in results)
    rest_text = f", {len(results) - failed - passed} measured or not run here"
    advice = ": please attach it to an issue" if failed else ""
    return f"{passed} passed, {failed} failed{rest_text}, in {seconds:.0f} seconds; {path}{advice}"


def write_report(
    path: Path, gpu: Mapping, versions: Mapping, quick: bool, results: Sequence[CheckResult]
) -> None:
    """Write the JSON file.

    Parameters
    ----------
    path : Path
        The file.
    gpu : mapping
        The GPU as in a record.
    versions : mapping
        Versions of packages.
    quick : bool
        Whether this was a quick check.
    results : sequence of CheckResult
        The results.
    """
    checks = [
        {
            "name": result.name,
            "title": result.check.title,
            "passed": result.outcome.passed,
            "said": result.outcome.message,
            "seconds": round(result.seconds, 3),
            "meanwhile": None if result.outcome.passed is not False else result.check.meanwhile,
            "numbers": dict(result.outcome.numbers),
        }
        for result in results
    ]
    header = {"format": 1, "quick": quick, "gpu": dict(gpu), "versions": dict(versions)}
    write_json(path, header | {"checks": checks})

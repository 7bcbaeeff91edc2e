"""TensorBoard: an event folder per run, with scalars for its curve and a text for its record."""

import json
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from kdpipe.workflow.tracking import Tracker

RECORD_TAG = "record"  # the tag of the text
EPOCH_TAG = "train/loss"  # the tag that every epoch has


class Events:
    """A study as event files in a folder, written by tensorboard's library."""

    def __init__(self, folder: Path, study: str):
        reader = import_module("tensorboard.backend.event_processing.event_accumulator")
        self.accumulator, self.scalars, self.tensors = (
            getattr(reader, name) for name in ("EventAccumulator", "SCALARS", "TENSORS")
        )
        self.writer = import_module("tensorboard.summary.writer.event_file_writer").EventFileWriter
        self.event = import_module("tensorboard.compat.proto.event_pb2").Event
        self.summary = import_module("tensorboard.compat.proto.summary_pb2").Summary
        self.text = import_module("tensorboard.plugins.text.metadata").create_summary_metadata
        self.tensor = import_module("tensorboard.util.tensor_util").make_tensor_proto
        self.folder = folder / study
        self.writers: dict[str, Any] = {}
        self.run_states: dict[str, tuple[int, bool]] = {}

    def count_epochs(self, run: str) -> int:
        """Return how many epochs of a run are logged."""
        return self._read_run_state(run)[0]

    def is_finished(self, run: str) -> bool:
        """Return whether the record of a run is logged."""
        return self._read_run_state(run)[1]

    def add_epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        """Add one line of a curve."""
        entries = [
            self.summary.Value(tag=tag, simple_value=number) for tag, number in values.items()
        ]
        self._add(run, epoch, entries)
        self.run_states[run] = (epoch, self.is_finished(run))

    def add_record(self, run: str, facts: Mapping[str, str], values: Mapping[str, float]) -> None:
        """Log the parameters and results of a run."""
        epoch = self.count_epochs(run)
        entries = [
            self.summary.Value(tag=tag, simple_value=number) for tag, number in values.items()
        ]
        text = json.dumps(dict(facts), indent=1)
        entries.append(
            self.summary.Value(
                tag=RECORD_TAG,
                metadata=self.text(RECORD_TAG, ""),
                tensor=self.tensor([text.encode()], shape=(1,)),
            )
        )
        self._add(run, epoch, entries)
        self.run_states[run] = (epoch, True)

    def close(self) -> None:
        """Write everything that was added to the disk."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()

    def _add(self, run: str, epoch: int, values: list) -> None:
        """Write one event of a run."""
        if run not in self.writers:
            self.writers[run] = self.writer(str(self.folder / run))
        summary = self.summary(value=values)
        self.writers[run].add_event(self.event(wall_time=time.time(), step=epoch, summary=summary))
        self.writers[run].flush()

    def _read_run_state(self, run: str) -> tuple[int, bool]:
        """Return how many epochs of a run are logged, and whether its record is; read once."""
        if run not in self.run_states:
            self.run_states[run] = (0, False)
            if (self.folder / run).is_dir():
                size_guidance = {self.scalars: 0, self.tensors: 0}
                events = self.accumulator(str(self.folder / run), size_guidance).Reload()
                scalars, tensors = events.Tags()["scalars"], events.Tags()["tensors"]
                steps = (
                    [scalar.step for scalar in events.Scalars(EPOCH_TAG)]
                    if EPOCH_TAG in scalars
                    else []
                )
                self.run_states[run] = (max(steps, default=0), RECORD_TAG in tensors)
        return self.run_states[run]


TRACKER = Tracker(
    title="TensorBoard",
    package="tensorboard",
    show="tensorboard --logdir {folder}",
    open=Events,
)

"""TensorBoard: a folder of events for each run, scalars for its curve and a text for its record."""

import json
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from kdpipe.upkeep.tracker import Tracker

RECORD = "record"  # the tag of the text
EPOCH = "train/loss"  # the tag that every epoch has


class Events:
    """Event files below a folder, written and read by tensorboard's own library."""

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
        self.known: dict[str, tuple[int, bool]] = {}

    def epochs(self, run: str) -> int:
        return self._known(run)[0]

    def finished(self, run: str) -> bool:
        return self._known(run)[1]

    def add_epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        found = [self.summary.Value(tag=tag, simple_value=number) for tag, number in values.items()]
        self._add(run, epoch, found)
        self.known[run] = (epoch, self.finished(run))

    def add_record(self, run: str, facts: Mapping[str, str], values: Mapping[str, float]) -> None:
        epoch = self.epochs(run)
        found = [self.summary.Value(tag=tag, simple_value=number) for tag, number in values.items()]
        text = json.dumps(dict(facts), indent=1)
        found.append(
            self.summary.Value(
                tag=RECORD,
                metadata=self.text(RECORD, ""),
                tensor=self.tensor([text.encode()], shape=(1,)),
            )
        )
        self._add(run, epoch, found)
        self.known[run] = (epoch, True)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()

    def _add(self, run: str, epoch: int, values: list) -> None:
        if run not in self.writers:
            self.writers[run] = self.writer(str(self.folder / run))
        summary = self.summary(value=values)
        self.writers[run].add_event(self.event(wall_time=time.time(), step=epoch, summary=summary))
        self.writers[run].flush()

    def _known(self, run: str) -> tuple[int, bool]:
        """As it was read when it was first asked for, and has become since."""
        if run not in self.known:
            self.known[run] = (0, False)
            if (self.folder / run).is_dir():
                everything = {self.scalars: 0, self.tensors: 0}
                there = self.accumulator(str(self.folder / run), everything).Reload()
                scalars, tensors = there.Tags()["scalars"], there.Tags()["tensors"]
                steps = [one.step for one in there.Scalars(EPOCH)] if EPOCH in scalars else []
                self.known[run] = (max(steps, default=0), RECORD in tensors)
        return self.known[run]


TRACKER = Tracker(
    title="TensorBoard",
    package="tensorboard",
    show="tensorboard --logdir {folder}",
    open=Events,
)

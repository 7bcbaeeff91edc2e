"""MLflow: an experiment for the study, in it a run for each run; its own files, and no server."""

import os
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from kdpipe.upkeep.tracker import Tracker

NAME = "kdpipe.run"
EPOCH = "train/loss"  # the metric that every epoch has


class Experiment:
    """One experiment in a folder that `mlflow ui` reads."""

    def __init__(self, folder: Path, study: str):
        # Files in a folder, as libraries without a database have them; it asks for this word.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        entities = import_module("mlflow.entities")
        self.metric, self.param = entities.Metric, entities.Param
        tracking = import_module("mlflow.tracking")
        self.client = tracking.MlflowClient(tracking_uri=folder.absolute().as_uri())
        found = self.client.get_experiment_by_name(study)
        self.experiment = found.experiment_id if found else self.client.create_experiment(study)
        self.runs: dict[str, str] = {}
        self.known: dict[str, int] = {}
        self.ended: set[str] = set()
        token = None
        while True:
            page = self.client.search_runs([self.experiment], page_token=token)
            for run in page:
                name = run.data.tags.get(NAME, "")
                self.runs[name] = run.info.run_id
                if run.info.status == "FINISHED":
                    self.ended.add(name)
            if not (token := page.token):
                break

    def epochs(self, run: str) -> int:
        if run not in self.known:
            there = self.runs.get(run)
            history = self.client.get_metric_history(there, EPOCH) if there else []
            self.known[run] = max((metric.step for metric in history), default=0)
        return self.known[run]

    def finished(self, run: str) -> bool:
        return run in self.ended

    def add_epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        # Each metric is a file of its own: the one by which an epoch is known is written last.
        ordered = dict(sorted(values.items(), key=lambda one: one[0] == EPOCH))
        self.client.log_batch(self._id(run), metrics=self._metrics(ordered, epoch))
        self.known[run] = epoch

    def add_record(self, run: str, facts: Mapping[str, str], values: Mapping[str, float]) -> None:
        own = self._id(run)
        params = [self.param(key, value[:500]) for key, value in facts.items()]
        # What is there already is written once more, with the same value.
        self.client.log_batch(own, metrics=self._metrics(values, self.epochs(run)), params=params)
        self.client.set_terminated(own)
        self.ended.add(run)

    def close(self) -> None:
        pass

    def _metrics(self, values: Mapping[str, float], epoch: int) -> list:
        now = int(1000 * time.time())
        return [self.metric(key, value, now, epoch) for key, value in values.items()]

    def _id(self, run: str) -> str:
        if run not in self.runs:
            tags = {NAME: run}
            made = self.client.create_run(self.experiment, tags=tags, run_name=run)
            self.runs[run] = made.info.run_id
        return self.runs[run]


TRACKER = Tracker(
    title="MLflow",
    package="mlflow-skinny",
    show="mlflow ui --backend-store-uri {folder}",
    open=Experiment,
)

"""MLflow: an experiment for the study with a run for each run, in a local file store."""

import os
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from kdpipe.workflow.tracking import Tracker

NAME_TAG = "kdpipe.run"
EPOCH_METRIC = "train/loss"  # the metric that every epoch has


class Experiment:
    """A study as one experiment, in a folder for `mlflow ui`."""

    def __init__(self, folder: Path, study: str):
        # MLflow requires this variable before it writes a file store, without a database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # MLflow sends usage data to its makers, unless this is set before its first import.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        entities = import_module("mlflow.entities")
        self.metric, self.param = entities.Metric, entities.Param
        tracking = import_module("mlflow.tracking")
        self.client = tracking.MlflowClient(tracking_uri=folder.absolute().as_uri())
        experiment = self.client.get_experiment_by_name(study)
        self.experiment = (
            experiment.experiment_id if experiment else self.client.create_experiment(study)
        )
        self.run_ids: dict[str, str] = {}
        self.epoch_counts: dict[str, int] = {}
        self.finished_runs: set[str] = set()
        token = None
        while True:
            page = self.client.search_runs([self.experiment], page_token=token)
            for run in page:
                name = run.data.tags.get(NAME_TAG, "")
                self.run_ids[name] = run.info.run_id
                if run.info.status == "FINISHED":
                    self.finished_runs.add(name)
            if not (token := page.token):
                break

    def count_epochs(self, run: str) -> int:
        """Return how many epochs of a run are logged."""
        if run not in self.epoch_counts:
            run_id = self.run_ids.get(run)
            history = self.client.get_metric_history(run_id, EPOCH_METRIC) if run_id else []
            self.epoch_counts[run] = max((metric.step for metric in history), default=0)
        return self.epoch_counts[run]

    def is_finished(self, run: str) -> bool:
        """Return whether the record of a run is logged."""
        return run in self.finished_runs

    def add_epoch(self, run: str, epoch: int, values: Mapping[str, float]) -> None:
        """Add one line of a curve."""
        # Each metric is a separate file: the one that marks an epoch as logged is written last.
        ordered = dict(sorted(values.items(), key=lambda item: item[0] == EPOCH_METRIC))
        self.client.log_batch(self._id(run), metrics=self._metrics(ordered, epoch))
        self.epoch_counts[run] = epoch

    def add_record(self, run: str, facts: Mapping[str, str], values: Mapping[str, float]) -> None:
        """Log the parameters and results of a run."""
        run_id = self._id(run)
        params = [self.param(key, value[:500]) for key, value in facts.items()]
        # Existing values are written again unchanged.
        self.client.log_batch(
            run_id, metrics=self._metrics(values, self.count_epochs(run)), params=params
        )
        self.client.set_terminated(run_id)
        self.finished_runs.add(run)

    def close(self) -> None:
        """Do nothing: the client writes at once."""

    def _metrics(self, values: Mapping[str, float], epoch: int) -> list:
        """Return MLflow's metrics of one epoch."""
        now = int(1000 * time.time())
        return [self.metric(key, value, now, epoch) for key, value in values.items()]

    def _id(self, run: str) -> str:
        """Return MLflow's id of a run, which is created if it is missing."""
        if run not in self.run_ids:
            tags = {NAME_TAG: run}
            created = self.client.create_run(self.experiment, tags=tags, run_name=run)
            self.run_ids[run] = created.info.run_id
        return self.run_ids[run]


TRACKER = Tracker(
    title="MLflow",
    package="mlflow-skinny",
    show="mlflow ui --backend-store-uri {folder}",
    open=Experiment,
)

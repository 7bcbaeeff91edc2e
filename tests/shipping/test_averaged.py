"""An average of weights is exported, and it is said that it is one."""

import json
from pathlib import Path

import exported
import tiny

from kdpipe.cli.main import main
from kdpipe.errors import KdpipeError
from kdpipe.jobs.train import train
from kdpipe.plan import planner
from kdpipe.shipping import graph, latency
from kdpipe.study import checking


def test_an_average_is_exported_as_one(tmp_path, shared, monkeypatch, capsys):
    def none(*_):
        raise KdpipeError("it is not asked for here")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(graph, "quantised", none)  # seconds less, as the next line
    monkeypatch.setattr(latency, "SECONDS", 0.1)
    place = tiny.results(tmp_path, shared)
    content = exported.STUDY | {"recipe": exported.STUDY["recipe"] | {"ema": 0.5}}
    made = planner.make(checking.load(tiny.write(Path("study.yaml"), content)))
    run = next(iter(made.runs.values()))
    train(run.spec, [], place)
    assert main(["export", "study.yaml", run.name, "--to", "export"]) == 0
    assert "last reading, weights averaged with decay 0.5, to ship" in capsys.readouterr().out
    assert json.loads(Path("export/config.json").read_bytes())["ema"] == 0.5
    said = Path("export/README.md").read_text()
    assert "those, averaged over its steps (exponentially, decay 0.5), after epoch 4" in said
    ours = (place.run(run.name) / "weights.safetensors").read_bytes()
    assert Path("export/model.safetensors").read_bytes() == ours

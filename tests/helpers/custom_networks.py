"""Networks of one's own in a folder with a study, which other tests change and run."""

import importlib
import json
import sys

from helpers import tiny_study
from kdpipe.cli.main import main
from kdpipe.config import load
from kdpipe.plan import planner

CODE = """\
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth


def small(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(6 * 4, num_classes),
    )


class Grouped(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 32, 1, bias=False)
        self.conv = nn.Conv2d(32, 64, 3, stride=2, padding=1, groups=4, bias=False)
        self.linear = nn.Linear(64, num_classes)

    def features(self, x):
        first = F.relu(self.stem(x))
        second = F.relu(self.conv(first))
        return self.linear(second.mean((2, 3))), [first, second]

    def forward(self, x):
        return self.features(x)[0]


def dropping(num_classes, in_channels):
    return nn.Sequential(
        StochasticDepth(0.3, "row"),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(64 * in_channels, 10),
        Noisy(),
        nn.Linear(10, num_classes),
    )


class Noisy(nn.Module):
    _version = 2  # as torchvision's MNASNet has one

    def forward(self, x):
        return x + 0.1 * torch.randn_like(x) if self.training else x

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        assert local_metadata["version"] == 2
"""
GROUPED = {  # the shapes of its parameters
    "stem.weight": (32, 1, 1, 1),
    "conv.weight": (64, 8, 3, 3),
    "linear.weight": (10, 64),
    "linear.bias": (10,),
}
NETWORKS = {"small": {"build": "mine.small"}, "grouped": {"build": "mine.Grouped"}}


def study(**changes) -> dict:
    """wrn10-0.5 and `small` taught by `small` and `grouped`."""
    main = {"teachers": ["small", "grouped"], "students": ["wrn10-0.5", "small"]}
    main |= changes.pop("main", {})
    return tiny_study.study(**{"networks": NETWORKS, "main": main} | changes)


class Folder:
    """A study file and the module beside it."""

    def __init__(self, path, content=None, code=CODE):
        self.path = path
        self.study = tiny_study.write(path / "study.yaml", content or study())
        self.code(code)

    def code(self, text, name="mine"):
        (self.path / f"{name}.py").write_text(text)
        forget()

    def change(self, old, new):
        text = (self.path / "mine.py").read_text()
        assert text.count(old) == 1
        self.code(text.replace(old, new))

    def write(self, content):
        tiny_study.write(self.study, content)

    def kdpipe(self, verb, *options):
        forget()
        return main([verb, str(self.study), *options])

    def plan(self):
        return planner.build_plan(load.load_study(self.study))

    def card(self, name):
        return json.loads((self.path / f"{name}-1x8x8-10.network.json").read_text())


def forget():
    """As in a new process: modules of a study are imported again."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mine", "broken")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def trained(run, store, folder, keep=()):
    result = [f"--code={folder.path}"]
    forget()
    assert main([*tiny_study.train(run, keep, str(store.root)), *result]) == 0
    return store.run(run.name)

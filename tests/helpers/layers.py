"""The packages of kdpipe as pyproject.toml and CONTRIBUTING.md name them."""

import re
import tomllib
from pathlib import Path

_CONFIG = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
_CONTRACTS = {one["id"]: one for one in _CONFIG["tool"]["importlinter"]["contracts"]}
# The layers of the package, bottom up, each as names without `kdpipe.`.
LAYERS = [
    re.findall(r"kdpipe\.([\w.]+)", layer) for layer in reversed(_CONTRACTS["layers"]["layers"])
]
PACKAGES = {module.partition(".")[0] for layer in LAYERS[1:] for module in layer} - {"__main__"}
# The layer of a package, for ordering its tests; of `runs` that on which it begins.
LAYER = {
    module.partition(".")[0]: number
    for number, layer in reversed(list(enumerate(LAYERS)))
    for module in layer
}
# Folders in which each file is one thing of one kind.
LISTED = {
    *("losses", "families", "datasets", "augmentations", "rules", "optimizers", "schedules"),
    *("tables", "figures", "claims", "commands", "trackers", "checks"),
}

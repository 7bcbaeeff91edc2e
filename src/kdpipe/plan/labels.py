"""What tells nodes of a plan apart, in words: `wrn10-0.5 from wrn10-1, kd, seed 2`.

Names of nodes end in a digest and are there for files; lines for people have these labels.
"""

import re
from collections.abc import Mapping

from kdpipe.plan.nodes import Cell, ExportEval, LogitCache, Node, Plan, Probe, Run
from kdpipe.text import format_count

# A name with its digest, as a word of a sentence and not as part of a path.
NAME_PATTERN = re.compile(r"(?<![\w/.-])[\w.-]+-[0-9a-f]{12}(?![\w/-]|\.\w)")


def label_nodes(plan: Plan) -> dict[str, str]:
    """Return the label of each node and data set of a plan, by its name.

    Parameters
    ----------
    plan : Plan
        The plan.

    Returns
    -------
    dict of str to str
        Labels; two nodes that these do not tell apart have the end of their names too.
    """
    cells: dict[str, Cell] = {}
    for cell in plan.cells:
        cells.setdefault(cell.run.name, cell)
    ensembles = {row.ensemble.name: row.label for row in plan.ensemble_rows}
    nodes: dict[str, Node] = {**plan.nodes_by_name, **plan.logit_caches}
    labels = {name: _label_node(node, plan, cells, ensembles) for name, node in nodes.items()}
    labels |= {folder: f"data {folder.rpartition('-')[0]}" for folder in plan.datasets}
    counts: dict[str, int] = {}
    for label in labels.values():
        counts[label] = counts.get(label, 0) + 1
    return {
        name: label if counts[label] == 1 else f"{label} ({name.rpartition('-')[2]})"
        for name, label in labels.items()
    }


def replace_names(text: str, labels: Mapping[str, str]) -> str:
    """Return a sentence, such as the reason of a failure, with labels in place of names.

    Parameters
    ----------
    text : str
        The sentence; paths in it keep their names.
    labels : mapping of str to str
        Labels by name.
    """
    return NAME_PATTERN.sub(lambda match: labels.get(match[0], match[0]), text)


def _label_node(node: Node, plan: Plan, cells: dict[str, Cell], ensembles: dict[str, str]) -> str:
    """Return the label of one node."""
    if isinstance(node, Run):
        return _label_run(node, plan, cells.get(node.name))
    if isinstance(node, LogitCache):
        parent = _label_run(node.parent, plan, cells.get(node.parent.name))
        is_end = node.spec.epoch == node.parent.epochs
        return f"logits of {parent}" + ("" if is_end else f", epoch {node.spec.epoch}")
    if isinstance(node, Probe | ExportEval):
        what = f"probe on {node.card.name}" if isinstance(node, Probe) else "files"
        return f"{what} of {_label_run(node.run, plan, cells.get(node.run.name))}"
    label = ensembles.get(node.name, node.name)
    return f"ensemble {label}{_label_draw(node.seed, node.split, plan)}"


def _label_run(run: Run, plan: Plan, cell: Cell | None) -> str:
    """Return the label of a run."""
    parts = [run.network]
    if cell is not None:
        stop = "" if cell.teacher.stop.label == "full" else f" at {cell.teacher.stop.label}"
        via = f" through {' > '.join(cell.via)}" if cell.via else ""
        parts = [f"{run.network} from {cell.teacher.label}{stop}{via}", cell.method]
        parts += [f"generation {cell.generation}"] if cell.generation > 1 else []
    elif run.spec.pretrained is not None:
        parts = [f"{run.network} with its weights"]
    elif run.spec.teacher is None:
        parts = [f"{run.network} on labels"]
    if run.epochs and (cell is None or plan.study.lists_lengths):
        is_usual = run.epochs == plan.study.get_recipe(run.network).epochs
        parts += [] if is_usual else [format_count(run.epochs, "epoch")]
    if plan.study.lists_sizes:
        parts.append(f"{run.spec.data.train_size} images")
    parts += [f"member {run.spec.member}"] if run.spec.member else []
    return ", ".join(parts) + _label_draw(run.seed, run.split, plan)


def _label_draw(seed: int, split: int, plan: Plan) -> str:
    """Return the seed, and the split where a study has several."""
    return f", seed {seed}" + (f", split {split}" if plan.study.splits != [0] else "")

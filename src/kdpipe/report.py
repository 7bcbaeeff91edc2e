"""The report of a study: results.csv, and every table as Markdown and CSV, from the records.

Needs neither torch nor a GPU nor any weights: a folder of records is enough. A study that is
half done renders with its holes.
"""

from pathlib import Path

import pandas as pd

from kdpipe import __version__, records, store, tables
from kdpipe.plan import Plan


def render(plan: Plan, place: store.Store, folder: Path) -> Path:
    """Write the report of a plan into a folder; returns the folder."""
    frame = records.frame(plan, place)
    store.write_bytes(folder / "results.csv", frame.to_csv(index=False).encode())
    parts = [_heading(plan, frame)]
    for name, reads in _wanted(plan).items():
        table = tables.TABLES[name](_read(frame, reads))
        store.write_bytes(folder / "tables" / f"{name}.csv", tables.csv(table).encode())
        markdown = tables.markdown(table)
        store.write_bytes(folder / "tables" / f"{name}.md", markdown.encode())
        parts.append(markdown)
    # index.md is what the rule `report` promises: written last.
    store.write_bytes(folder / "index.md", "\n\n".join(part.strip() for part in parts).encode())
    return folder


def _wanted(plan: Plan) -> dict[str, list[str]]:
    """The tables of the study and what each reads, in the order of a report."""
    chosen = plan.study.tables
    return {name: chosen[name] for name in tables.TABLES if name in chosen}


def _read(frame: pd.DataFrame, reads: list[str]) -> pd.DataFrame:
    """The rows that a table reads: its blocks and ensembles, and every scratch run."""
    wanted = frame.block.isin(reads) | (frame.kind == "scratch")
    if "ensemble" in frame:
        wanted |= frame.ensemble.isin(reads)
    return frame[wanted].reset_index(drop=True)


def _heading(plan: Plan, frame: pd.DataFrame) -> str:
    study, data = plan.study, plan.study.data
    runs = frame[frame.kind != "ensemble"].drop_duplicates("run")
    states = ", ".join(f"{count} {state}" for state, count in runs.status.value_counts().items())
    size = data.train_size or plan.card.train - data.validation
    noise = f", {data.label_noise:.0%} of their labels redrawn" if data.label_noise else ""
    return "\n".join(
        [
            f"# {study.study}",
            "",
            f"{plan.card.title}: {size:,} training images{noise}, {data.validation:,} for "
            f"validation, {plan.card.test:,} for test. Seeds {', '.join(map(str, study.seeds))}.",
            f"{len(runs)} runs: {states}.",
            "",
            "Errors are top-1 in points, of the weights after the last epoch, on test; an interval "
            "holds 95 % (Student's t over seeds); differences are paired by seed. "
            f"Rendered by kdpipe {__version__} from the records alone; every number is in results.csv.",
        ]
    )

"""Shares of a study, for machines that have no folder in common.

The runs of a plan are cut into disjoint shares that together are the plan. The cut depends on the
study alone: not on a machine, its speed, or what is done. Prices are multiply-adds.

What hangs together stays together: in the order of the study's seeds, the runs of one seed that
descend from each other are one piece. Pieces are handed to the shares in this order, so that a
share has whole seeds, and of a seed whole teachers with all that descends from them. Only a piece
that costs more than a fair share is cut: what all of it descends from goes to one share, and the
others wait for its results, or train it too.
"""

import dataclasses
import re
from collections.abc import Mapping

from kdpipe.errors import KdpipeError
from kdpipe.plan import status
from kdpipe.plan.labels import label_nodes
from kdpipe.plan.nodes import Plan, RecordedNode, Run, Share, collect_with_ancestors
from kdpipe.runs.store import Store

MAX_SHARES = 10_000


def parse_share(text: object, is_whole: bool = False) -> Share:
    """Read a share such as `2/5`.

    Parameters
    ----------
    text : object
        As typed, or as Snakemake has read it from `--config share=2/5`.
    is_whole : bool
        Whether the share trains what its runs descend from in other shares too.

    Raises
    ------
    KdpipeError
        If it is none.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", str(text))
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count <= MAX_SHARES:
        raise KdpipeError(
            f"share {text}: must be K/N, share K of N with 1 <= K <= N <= {MAX_SHARES:,}, such as "
            "2/5"
        )
    return Share(number, count, is_whole)


def select_share(plan: Plan, share: Share) -> Plan:
    """Return the part of a plan that is one share of it.

    Parameters
    ----------
    plan : Plan
        The plan of the whole study.
    share : Share
        Which share of how many.

    Returns
    -------
    Plan
        The same nodes, only fewer of them. Its `whole` is the plan, so parents that are not part of
        the share have a state too.

    Raises
    ------
    KdpipeError
        For a search, whose next runs depend on results of all.
    """
    if plan.study.search is not None:
        raise KdpipeError(
            f"share {share}: {plan.study.study} is a search, whose next runs depend on the results "
            "of all: run it in one folder, or remove search from the study"
        )
    names = {node.name for node in cut_plan(plan, share.count)[share.number - 1]}
    if share.is_whole:
        names = collect_with_ancestors(plan.nodes_by_name[name] for name in names)
    runs = {name: run for name, run in plan.runs.items() if name in names}
    return dataclasses.replace(
        plan,
        whole=plan,
        share=share,
        runs=runs,
        ensembles={name: node for name, node in plan.ensembles.items() if name in names},
        probes={name: node for name, node in plan.probes.items() if name in names},
        gauges={name: node for name, node in plan.gauges.items() if name in names},
        logit_caches={cache.name: cache for run in runs.values() for cache in run.logit_caches},
        cells=[cell for cell in plan.cells if cell.run.name in names],
        ensemble_rows=[row for row in plan.ensemble_rows if row.ensemble.name in names],
        probe_rows=[row for row in plan.probe_rows if row.probe.name in names],
        export_eval_rows=[row for row in plan.export_eval_rows if row.export_eval.name in names],
        scratch_long=[each for each in plan.scratch_long if each[1].name in names],
        scratch={key: run for key, run in plan.scratch.items() if run.name in names},
        scratch_variants={
            key: run for key, run in plan.scratch_variants.items() if run.name in names
        },
        roles={name: roles for name, roles in plan.roles.items() if name in names},
    )


def cut_plan(plan: Plan, count: int) -> list[list[RecordedNode]]:
    """Cut a plan into shares of about the same price.

    Parameters
    ----------
    plan : Plan
        The plan of the whole study.
    count : int
        The number of shares.

    Returns
    -------
    list of list of node
        The nodes of each share; every node is in one of them. A share may be empty if there are
        more shares than pieces.
    """
    total = sum(map(get_price, plan.nodes_by_name.values()))
    shares: list[list[RecordedNode]] = [[] for _ in range(count)]
    begin = 0
    for piece in _list_pieces(plan, total / count):
        price = sum(map(get_price, piece))
        # A piece belongs where its middle is, on a line as long as the price of the study.
        middle = (2 * begin + price) * count // (2 * total)
        shares[min(middle, count - 1)].extend(piece)
        begin += price
    return shares


def get_price(node: RecordedNode) -> int:
    """Return the price of a node in multiply-adds; at least 1, so that all of them count.

    What a logit cache costs is not part of it: each share makes those that its runs learn from.
    """
    if not isinstance(node, Run):
        return 1
    return 1 + node.train_multiply_adds + (0 if node.logit_caches else node.teacher_multiply_adds)


def find_awaited(plan: Plan, store: Store) -> dict[str, tuple[int, list[str]]]:
    """Return what a share waits for: unfinished runs of other shares.

    Parameters
    ----------
    plan : Plan
        The plan; one that is no share waits for nothing.
    store : Store
        The results folder.

    Returns
    -------
    dict
        By the name of a run of another share its number, and the nodes of this share that wait.
    """
    if plan.whole is None or plan.share is None:
        return {}
    states = status.get_plan_status(plan.whole, store)
    shares = cut_plan(plan.whole, plan.share.count)
    share_numbers = {node.name: n for n, nodes in enumerate(shares, 1) for node in nodes}
    own, awaited = plan.nodes_by_name, dict[str, tuple[int, list[str]]]()
    waiting: dict[str, set[str]] = {}  # by node what it waits for, directly or through others
    for name, node in plan.whole.nodes_by_name.items():  # parents first
        waiting[name] = set()
        if states[name] != "to do":
            continue
        waiting[name] |= {other for parent in node.parents for other in waiting[parent.name]}
        if name not in own:
            waiting[name].add(name)
            continue
        for other in waiting[name]:
            awaited.setdefault(other, (share_numbers[other], []))[1].append(name)
    return awaited


def describe_share(plan: Plan, store: Store) -> list[str]:
    """Return what a share is, and what it waits for, as lines; none for a whole plan.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        The results folder.
    """
    if plan.whole is None or plan.share is None:
        return []
    prices = [sum(map(get_price, nodes)) for nodes in cut_plan(plan.whole, plan.share.count)]
    own = sum(map(get_price, plan.nodes_by_name.values()))
    others = prices[: plan.share.number - 1] + prices[plan.share.number :]
    total = sum(prices)
    line = (
        f"share {plan.share} of study {plan.study.study}: {len(plan.runs):,} of "
        f"{len(plan.whole.runs):,} runs, {100 * own / total:.0f} % of the multiply-adds"
    )
    if others:
        low, high = (f"{100 * price / total:.0f}" for price in (min(others), max(others)))
        line += f" (the others: {low if low == high else f'{low} to {high}'} %)"
    return [line, *describe_awaited(find_awaited(plan, store), plan)]


def describe_awaited(awaited: Mapping[str, tuple[int, list[str]]], plan: Plan) -> list[str]:
    """Return a line for each other share whose runs are awaited.

    Parameters
    ----------
    awaited : mapping
        What the share waits for, see `find_awaited`.
    plan : Plan
        The plan of the share.
    """
    lines: list[str] = []
    labels = label_nodes(plan.whole or plan) if awaited else {}
    for number in sorted({number for number, _ in awaited.values()}):
        names = [name for name, (other, _) in awaited.items() if other == number]
        waiting = {name for other, nodes in awaited.values() if other == number for name in nodes}
        verb = "waits" if len(waiting) == 1 else "wait"
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        lines.append(
            f"{len(waiting):,} of them {verb} for {labels[names[0]]}{more} of share {number}: "
            "merge its results into this folder (kdpipe merge), or train it here too with --whole"
        )
    return lines


def _list_pieces(plan: Plan, limit: float) -> list[list[RecordedNode]]:
    """Return the nodes in the order of the study's seeds, in pieces that stay together.

    Parameters
    ----------
    plan : Plan
        The plan.
    limit : float
        The price above which a piece is cut, if it can be.
    """
    ranks = {seed: rank for rank, seed in enumerate(plan.study.seeds)}
    by_seed: dict[tuple[int, int, int], list[RecordedNode]] = {}
    for node in plan.nodes_by_name.values():
        rank = ranks.get(node.seed, len(ranks))
        by_seed.setdefault((rank, node.seed, node.split), []).append(node)
    pieces: list[list[RecordedNode]] = []
    for key in sorted(by_seed):
        pieces += _cut_nodes(by_seed[key], limit)
    return pieces


def _cut_nodes(nodes: list[RecordedNode], limit: float) -> list[list[RecordedNode]]:
    """Return nodes in pieces: what descends from each other, or less where that is too much."""
    pieces: list[list[RecordedNode]] = []
    for family in _find_families(nodes):
        if len(family) == 1 or sum(map(get_price, family)) <= limit:
            pieces.append(family)
            continue
        names = {node.name for node in family}
        roots = [n for n in family if not any(parent.name in names for parent in n.parents)]
        root_names = {node.name for node in roots}
        rest = [node for node in family if node.name not in root_names]
        pieces += [[root] for root in roots] + _cut_nodes(rest, limit)
    return pieces


def _find_families(nodes: list[RecordedNode]) -> list[list[RecordedNode]]:
    """Return the connected components of nodes and their parents, in the order of the nodes."""
    leaders = {node.name: node.name for node in nodes}

    def find_leader(name: str) -> str:
        while leaders[name] != name:
            leaders[name] = name = leaders[leaders[name]]
        return name

    for node in nodes:
        for parent in node.parents:
            if parent.name in leaders:
                leaders[find_leader(node.name)] = find_leader(parent.name)
    families: dict[str, list[RecordedNode]] = {}
    for node in nodes:
        families.setdefault(find_leader(node.name), []).append(node)
    return list(families.values())

"""Which short runs share a job on a cluster, and what that job is told."""

import json
from types import SimpleNamespace

import pytest
from helpers import tiny_study

from kdpipe.jobs.pack import read_pack
from kdpipe.plan.nodes import LogitCache
from kdpipe.runs.store import Store
from kdpipe.workflow.packs import find_packs
from kdpipe.workflow.rule_context import PACKS_FOLDER, RuleContext, SnakemakeOptions

# A teacher T with students A and B, of whom B needs a long run L as well; U stands alone.
INPUTS = {"T": [], "A": ["T"], "B": ["T", "L"], "C": ["T", "L"], "U": [], "L": []}


def packed(sizes: dict[str, float], **keys) -> list[tuple[str, str]]:
    """The packs as (nodes, inputs)."""
    nodes = [SimpleNamespace(name=name) for name in INPUTS]
    packs = find_packs(
        nodes,  # type: ignore
        lambda node: INPUTS[node.name],
        lambda node: sizes.get(node.name, 0.1),
        lambda node: keys.get(node.name, 1),
    )
    return [("".join(node.name for node in p.nodes), "".join(sorted(p.inputs))) for p in packs]


def test_what_fails_outside_of_a_pack_stops_only_what_learns_from_it():
    """B and C wait for L, so they are in no pack with T, A and U, which do not."""
    assert packed({"L": 5.0}) == [("TAU", ""), ("BC", "LT")]


def test_a_pack_is_filled_and_no_further_and_long_runs_are_in_none():
    assert packed({}) == [("TALBCU", "")]
    assert packed({"T": 0.5, "A": 0.5, "L": 0.6}) == [("TA", ""), ("BC", "LT")]
    assert packed(dict.fromkeys(INPUTS, 0.51)) == []
    assert packed({"L": 5.0}, U=2) == [("TA", ""), ("BC", "LT")]  # other threads


def context(tmp_path, to_do=None, **options) -> RuleContext:
    plan = tiny_study.planned(teacher_outputs="table", seeds=[0, 1])
    names = frozenset(plan.runs if to_do is None else to_do)
    settings = SnakemakeOptions(**{"is_remote": True, "longest_job": 60, **options})
    store = Store(tmp_path / "results")
    return RuleContext(
        plan.study, plan, names, frozenset(plan.datasets), store=store, options=settings
    )


def test_a_study_of_short_runs_is_one_job_that_lists_parents_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    head = context(tmp_path, retries=lambda: 5)
    (name,) = head.packs
    pack = head.packs[name]
    assert {node.name for node in pack.nodes} == {*head.plan.runs, *head.plan.logit_caches}
    head.write_packs()
    told = read_pack(PACKS_FOLDER / f"{name}.json")
    seen: set[str] = set()
    for job, node in zip(told.jobs, pack.nodes, strict=True):
        assert seen.issuperset(job.parents)
        assert len(job.parents) == len(node.parents) + len(getattr(node, "logit_caches", ()))
        assert job.arguments[0] == ("tabulate" if isinstance(node, LogitCache) else "train")
        assert json.loads(job.arguments[2]) == json.loads(head.spec(node))
        seen.add(job.name)
    assert told.attempts == 6 and told.threads == 1
    assert head.pack_minutes(SimpleNamespace(name=name), 1) == told.minutes <= 60
    assert head.pack_minutes(SimpleNamespace(name=name), 9) == 60
    # What waits for a run waits for its marker; the job itself reads what it is told.
    assert head.records() == [f"logs/packs/{run}.made" for run in head.plan.runs]
    inside = RuleContext(head.study, head.plan, head.to_do, frozenset(), is_head=False)
    assert inside.pack_megabytes(SimpleNamespace(name=name), 1) == told.megabytes
    assert inside.packs == {}


@pytest.mark.parametrize(
    "options",
    [
        {"is_remote": False},
        {"pack_minutes": 0},
        {"longest_job": 5},
        {"is_looking": True},
        {"targets": lambda: {"results/runs/x/record.json"}},
    ],
)
def test_elsewhere_each_run_is_a_job_of_its_own(tmp_path, options):
    plain = context(tmp_path, **options)
    assert plain.packs == {}
    assert plain.records() == [
        f"{plain.store.root}/runs/{run}/record.json" for run in plain.plan.runs
    ]


def test_a_partial_target_packs_nothing_else(tmp_path):
    head = context(tmp_path, targets=lambda: {"teachers"})
    teachers = {name for name, roles in head.plan.roles.items() if "teacher" in roles}
    assert set(head.pack_by_node) == teachers and len(teachers) == 2

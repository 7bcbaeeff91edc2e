"""What a rule is answered, for each kind of job, without starting Snakemake."""

import hashlib
import inspect
from dataclasses import replace
from types import SimpleNamespace

import pytest
from helpers import tiny_study
from helpers.job_specs import planned

from kdpipe.errors import KdpipeError
from kdpipe.workflow.rule_context import RuleContext, SnakemakeOptions

PLAN = planned()
MADE = {name: item for items in PLAN.recorded_nodes.values() for name, item in items.items()}


def dag(to_do=tuple(MADE), ready=(), device="cpu", **options) -> RuleContext:
    return RuleContext(
        PLAN.study,
        PLAN,
        frozenset(to_do),
        frozenset(ready),
        device=device,
        options=SnakemakeOptions(**options),
    )


def inputs(item, **known) -> list[str]:
    return dag(**known).inputs(SimpleNamespace(name=item.name))


def records(*runs) -> list[str]:
    return [f"results/runs/{run.name}/record.json" for run in runs]


def prepared(name: str) -> str:
    (folder,) = [folder for folder in PLAN.datasets if folder.startswith(f"{name}-")]
    return f"logs/data/{folder}.prepared"


def test_each_kind_of_job_waits_for_its_parents_and_its_data():
    student = next(cell.run for cell in PLAN.cells if cell.block == "main")
    tables = [f"logs/tables/{table.name}.made" for table in student.logit_caches]
    assert len(tables) == len(student.parents) == 2
    assert inputs(student) == [prepared("digits"), *records(*student.parents), *tables]
    scratch = PLAN.scratch["wrn10-0.5", 0, 0]
    assert inputs(scratch) == [prepared("digits")]
    for table in PLAN.logit_caches.values():
        assert inputs(table) == [prepared("digits"), *records(table.parent)]
    for probe in PLAN.probes.values():
        assert inputs(probe) == [prepared("mnist"), *records(probe.run)]
    (ensemble,) = PLAN.ensembles.values()
    assert inputs(ensemble) == records(*(run for run, _ in ensemble.members))


def test_earlier_seeds_come_first_and_of_one_seed_runs_before_logit_caches():
    content = planned.__wrapped__(seeds=[4, 1, 9])
    context = RuleContext(content.study, content, frozenset(), frozenset())

    def priority(node):
        return context.priority(SimpleNamespace(name=node.name))

    by_seed = {
        seed: {priority(run) for run in content.runs.values() if run.seed == seed}
        for seed in (4, 1, 9)
    }
    caches = {priority(cache) for cache in content.logit_caches.values() if cache.parent.seed == 4}
    assert min(by_seed[4]) > max(by_seed[1]) and min(by_seed[1]) > max(by_seed[9])
    assert caches and max(caches) < min(by_seed[4]) and min(caches) > max(by_seed[1])
    for nodes in (content.ensembles, content.probes, content.gauges):
        for node in nodes.values():
            assert priority(node) in by_seed[node.seed]
    assert context.first_priority > max(by_seed[4]) and min(by_seed[9]) > 0


def test_a_table_is_told_who_learns_from_it_and_is_to_do():
    for table in PLAN.logit_caches.values():
        learners = [run.name for run in PLAN.runs.values() if table in run.logit_caches]
        requests = SimpleNamespace(name=table.name)
        assert dag().waiting_students(requests) == learners
        assert dag(to_do=learners[:1]).waiting_students(requests) == learners[:1] != []


def test_half_way_is_the_price_of_what_is_asked_for_and_no_more():
    """The runs that a target wants and those that they learn from; the report wants everything."""
    teachers = {name for name, roles in PLAN.roles.items() if "teacher" in roles}
    context = dag(targets=lambda: {"teachers"})
    assert set(context.partial_target("teachers")) == set(
        records(*(PLAN.runs[n] for n in teachers))
    )
    descent = {run.name for name in teachers for run in PLAN.runs[name].parents}
    assert context.requested == teachers | descent < set(MADE)
    finished_runs = next(iter(teachers))
    less = dag(to_do=set(MADE) - {finished_runs}, targets=lambda: {"teachers"})
    assert less.requested == context.requested - {finished_runs}
    student = next(run for run in PLAN.runs.values() if run.parents and run.spec.teacher)
    path = f"results/runs/{student.name}/record.json"
    descent = {student.name}
    for run in reversed(PLAN.runs.values()):
        descent |= {parent.name for parent in run.parents if run.name in descent}
    assert dag(targets=lambda: {path}).requested == descent < set(MADE)
    assert dag(targets=lambda: {path, "teachers"}).requested == descent | context.requested
    for targets in (
        (path, "report"),
        (),
        ("all",),
        ("teachers", "report"),
        ("results/runs/x/record.json",),
    ):
        assert dag(targets=lambda requests=targets: requests).requested == set(MADE)


def test_what_is_there_is_waited_for_by_nobody():
    finished_runs = [run.name for run in PLAN.runs.values()]
    to_do = set(MADE) - set(finished_runs)
    for item in [*PLAN.probes.values(), *PLAN.logit_caches.values(), *PLAN.ensembles.values()]:
        assert inputs(item, to_do=to_do, ready=PLAN.datasets) == []


def test_records_of_a_target_and_all_of_them():
    everything = dag().records()
    assert everything == [
        f"results/{kind}/{name}/record.json"
        for kind, items in (("runs", PLAN.runs), ("ensembles", PLAN.ensembles),
                            ("probes", PLAN.probes))
        for name in items
    ]  # fmt: skip
    scratch = records(PLAN.scratch["wrn10-0.5", 0, 0])
    assert set(dag().partial_target("students")) == {*scratch} | {
        *records(*(cell.run for cell in PLAN.cells)),
    }
    assert dag(to_do=()).records() == []


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_job_of_a_cluster_asks_for_more_at_the_next_attempt_and_within_the_site(device):
    requests = dag(device=device, longest_job=15)
    for item in [*PLAN.runs.values(), *PLAN.logit_caches.values(), *PLAN.probes.values()]:
        name = SimpleNamespace(name=item.name)
        assert [requests.minutes(name, attempt) for attempt in (1, 2)] == [10, 15]
        memory = [requests.megabytes(name, attempt) for attempt in (1, 3)]
        assert memory[1] == 2 * memory[0] > 0
        assert requests.threads(name) == 1
        assert requests.job_options(name) == (["--device=cuda"] if device == "cuda" else [])


def test_a_job_on_a_gpu_is_told_which_kernels_to_ask_of_it():
    name = SimpleNamespace(name=next(iter(PLAN.runs)))
    study = PLAN.study.model_copy(update={"kernels": "any"})
    report = {
        path: replace(dag(device=path), study=study).job_options(name) for path in ("cpu", "cuda")
    }
    assert report == {"cpu": [], "cuda": ["--device=cuda", "--kernels=any"]}


def test_a_gpu_of_a_cluster_is_asked_for_as_its_site_names_it():
    """The plugin takes one of both, and a site that wants a type, a shard or MPS has its own."""
    requests = {
        (device, remote): (result.gpus, result.gres)
        for device in ("cpu", "cuda")
        for remote in (False, True)
        for result in [dag(device=device, is_remote=remote, gpu_gres="shard:1")]
    }
    assert requests.pop(("cuda", True)) == (0, "shard:1")
    assert requests == {("cpu", False): (0, ""), ("cpu", True): (0, ""), ("cuda", False): (1, "")}
    plain = dag(device="cuda", is_remote=True)
    assert (plain.gpus, plain.gres) == (1, "")
    # A probe fits on the CPU: here it waits for a lease, there its job has the GPU to the end.
    assert plain.probe_gpus == 1 and dag(device="cuda").probe_gpus == 0


def sharded(**options):
    """A context whose runs have two processes, but for one student's."""
    networks = {"wrn10-0.5": {"shards": 1}}
    plan = tiny_study.planned(recipe={"shards": 4}, processes_per_run=2, network_recipes=networks)
    context = replace(dag(**options), study=plan.study, plan=plan, to_do=frozenset(plan.runs))
    first = {run.network: SimpleNamespace(name=run.name) for run in plan.runs.values()}
    return context, first["wrn10-1"], first["wrn10-0.5"]


def test_a_run_of_two_processes_asks_for_the_cores_and_gpus_of_both():
    on_cpu, teacher, student = sharded(device="cpu")
    assert on_cpu.threads(teacher) == 2 * on_cpu.threads(student) == 2
    assert on_cpu.run_gpus(teacher) == 0
    assert "--processes=2" in on_cpu.job_options(teacher)
    assert not any(option.startswith("--processes") for option in on_cpu.job_options(student))
    assert on_cpu.megabytes(teacher, 1) >= 1.9 * on_cpu.megabytes(student, 1)
    on_gpu, teacher, student = sharded(device="cuda", is_remote=True)
    assert [on_gpu.run_gpus(each) for each in (teacher, student)] == [2, 1]
    assert [on_gpu.run_gres(each) for each in (teacher, student)] == ["", ""]


@pytest.mark.parametrize(
    ("gres", "expected"), [("gpu:a100:1", "gpu:a100:2"), ("gpu:2", "gpu:4"), ("gpu", "gpu:2")]
)
def test_a_run_of_two_processes_asks_for_twice_the_gpus_of_the_site(gres, expected):
    context, teacher, student = sharded(device="cuda", is_remote=True, gpu_gres=gres)
    assert context.run_gpus(teacher) == 0
    assert [context.run_gres(each) for each in (teacher, student)] == [expected, gres]


@pytest.mark.parametrize("gres", ["shard:1", "mps:50"])
def test_fractions_of_a_gpu_are_refused_for_several_processes(gres):
    context, teacher, student = sharded(device="cuda", is_remote=True, gpu_gres=gres)
    assert context.run_gres(student) == gres
    with pytest.raises(KdpipeError, match=f"gpu_gres: {gres} .*whole GPUs"):
        context.run_gres(teacher)


def test_a_name_that_is_not_planned_is_an_error():
    with pytest.raises(KeyError, match="of-another-study"):
        dag().spec(SimpleNamespace(name="of-another-study"))


def test_the_spec_of_each_is_what_its_name_rests_on():
    for item in [*MADE.values(), *PLAN.logit_caches.values()]:
        text = dag().spec(SimpleNamespace(name=item.name))
        assert item.name.endswith(hashlib.sha256(text.encode()).hexdigest()[:12])


def test_snakemake_finds_the_parameters_of_a_function_where_it_looks_first(monkeypatch):
    """To read a signature anew for each of 25 look-ups of a job takes a tenth of a dry run."""
    from snakemake import common

    context = dag()
    functions = [context.inputs, context.minutes, context.spec]
    by_signature = [dict(inspect.signature(function).parameters) for function in functions]
    monkeypatch.setattr(common.inspect, "signature", None)
    assert [dict(common.get_function_params(function)) for function in functions] == by_signature
    assert list(by_signature[1]) == ["wildcards", "attempt"]
    expected = {"attempt": 2}
    auxiliary = {"attempt": 2, "threads": 1}
    assert common.get_input_function_aux_params(context.minutes, auxiliary) == expected

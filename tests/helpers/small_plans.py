"""Plans of small studies, given by their blocks, and what holds for every plan."""

from helpers import tiny_study
from kdpipe.config import load
from kdpipe.plan import planner

METHODS = {"kd": {}, "eskd": {"stop_epoch": 2}, "hot": {"temperature": 9}}


def make(content):
    return planner.build_plan(load.validate_study(content, "f"))


def block(name="main", **keys):
    """One experiment, tiny unless said otherwise."""
    result = {"name": name, "teachers": ["wrn16-1"], "students": ["wrn10-0.5"], "methods": ["kd"]}
    return result | keys


def study(*blocks, epochs=4, seeds=(0,), **keys):
    """A study of these blocks."""
    recipe = {"epochs": epochs, "drop_epochs": [2]}
    return tiny_study.study(experiments=list(blocks), recipe=recipe, seeds=list(seeds), **keys)


def on_labels(made):
    return [run for run in made.runs.values() if run.spec.teacher is None]


def sound(made):
    """What holds for every plan: parents exist, come first and are finished at the epoch used."""
    seen = {}
    for name, run in made.runs.items():
        assert name == run.name and run.digest not in seen
        members = run.spec.teacher.members if run.spec.teacher else []
        assert {member.run for member in members} == {parent.digest for parent in run.parents}
        for member in members:
            parent = seen[member.run]  # it came before
            assert parent.network == member.network and 0 <= member.epoch <= parent.epochs
            remaining = made.checkpoints_to_keep.get(parent.name, set())
            assert member.epoch in remaining | {parent.epochs}
        seen[run.digest] = run
    for ensemble in made.ensembles.values():
        assert all(seen[run.digest] is run for run, _ in ensemble.members)
        for run, epoch in ensemble.members:
            assert epoch in made.checkpoints_to_keep.get(run.name, set()) | {run.epochs}
    assert set(made.roles) == set(made.runs)
    assert set(made.checkpoints_to_keep) <= set(made.runs)
    return made

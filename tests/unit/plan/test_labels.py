"""Labels of runs in lines tell apart what names tell apart by a digest."""

from helpers import tiny_study

from kdpipe.plan.labels import label_nodes, replace_names


def test_a_label_says_method_stop_seed_and_split():
    """By hand, for every run of a small study."""
    plan = tiny_study.planned(
        seeds=[2],
        splits=[0, 1],
        teacher_outputs="table",
        ensembles={"two": {"networks": ["wrn10-0.5"], "copies": 2}},
        methods={"kd": {}, "warm": {"temperature": 9}},
        main={"methods": ["kd", "warm"], "stops": ["full", "checkpoint 1", "schedule 1"]},
    )
    labels = label_nodes(plan)
    assert len(set(labels.values())) == len(labels)
    for split in (0, 1):
        end = f", seed 2, split {split}"
        expected = {f"wrn10-0.5 from wrn10-1{stop}, {method}{end}"
                    for stop in ("", " at checkpoint 1", " at schedule 1")
                    for method in ("kd", "warm")}  # fmt: skip
        expected |= {f"wrn10-0.5 on labels{end}", f"wrn10-1 on labels{end}"}
        expected |= {f"wrn10-1 on labels, 1 epoch{end}", f"ensemble two{end}"}
        expected.add(f"wrn10-0.5 on labels, member 1{end}")
        runs = {label for name, label in labels.items() if name not in plan.logit_caches}
        assert {label for label in runs if label.endswith(end)} == expected
    caches = {labels[name] for name in plan.logit_caches}
    assert len(caches) == len(plan.logit_caches)
    assert all(label.startswith("logits of wrn10-1 on labels") for label in caches)
    assert labels[next(iter(plan.datasets))] == "data digits"


def test_names_in_a_sentence_become_labels_and_those_in_paths_stay():
    plan = tiny_study.planned()
    labels = label_nodes(plan)
    name = next(iter(plan.runs))
    sentence = "{0} diverged: see results/runs/{0}/record.json, {0}.log and other-0123456789ab"
    assert replace_names(sentence.format(name), labels) == (
        f"{labels[name]} diverged: see results/runs/{name}/record.json, {name}.log and "
        "other-0123456789ab"
    )

"""A tiny study, trained to its end: a teacher with a checkpoint, its students, an ensemble."""

from helpers import tiny_study

STUDY = tiny_study.study(
    main={"stops": ["full", "checkpoint 1"]},
    ensembles={"pair": {"networks": ["wrn10-1", "wrn10-0.5"]}},
)
PLAN = tiny_study.planned(
    main={"stops": ["full", "checkpoint 1"]},
    ensembles={"pair": {"networks": ["wrn10-1", "wrn10-0.5"]}},
)
SCRATCH, TEACHER, STUDENT = list(PLAN.runs.values())[:3]

# kdpipe: which teacher, stopped when, distilled how, gives the best small model?
#
# `snakemake --cores all` runs the study in config.yaml; another one: --configfile studies/X.yaml.
# What runs are needed is decided in src/kdpipe/plan.py; the rules only say how one is made.

from pathlib import Path

from snakemake.utils import min_version

from kdpipe import dag

min_version("9.19")

study = dag.load(
    config,
    workflow.configfiles,
    default=Path(workflow.basedir) / "config.yaml",
    head=workflow.is_main_process,
)


wildcard_constraints:
    name="[^/]+",


include: "workflow/rules/data.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/ensembles.smk"
include: "workflow/rules/report.smk"


# Everything, and the half-way targets.


rule all:
    default_target: True
    input:
        rules.report.output,


rule teachers:
    input:
        study.records("teacher"),


rule students:
    input:
        study.records("student", "scratch", "scratch_long"),

# kdpipe: which teacher, stopped when, distilled how, gives the best small model?
#
# `snakemake --cores all` runs the study in config.yaml; another one: --configfile studies/X.yaml.
# What runs are needed is decided in src/kdpipe/plan/planner.py; the rules only say how one is made.

from pathlib import Path

from snakemake.utils import min_version

from kdpipe.workflow.load import load

min_version("9.27.1")

# `jobs:` is what a cluster profile has and this machine has not. (Which executor it is Snakemake
# says only after this file was read.) `longest_job`, `gpu_gres` stand in the profile of a site.
remote = workflow.resource_settings.nodes is not None
site = workflow.resource_settings.default_resources or {}
# Beside this file, also where another workflow uses it as a module.
beside = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
study = load(
    config,
    workflow.configfiles,
    default=beside / "config.yaml",
    head=workflow.is_main_process,
    dry=workflow.output_settings.dryrun,
    remote=remote,
    targets=lambda: workflow.dag_settings.targets,  # known once this file was read
    longest_job=site["longest_job"].value if "longest_job" in site else None,
    gpu_gres=site["gpu_gres"].raw if "gpu_gres" in site else "",
)
# The GPUs of this machine are counted, unless `--resources gpu=N` says how many to use.
if study.gpus and not remote:
    workflow.global_resources.setdefault("gpu", study.runs_on_gpus)


# The first page of `snakemake --report`.
report: "workflow/report/workflow.rst"


wildcard_constraints:
    name="[^/]+",


include: "workflow/rules/again.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/ensembles.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/gauges.smk"
include: "workflow/rules/report.smk"


# Everything, and the half-way targets.


rule all:
    default_target: True
    input:
        # By themselves too: Snakemake does not make the missing inputs of a file that is there.
        study.records(),
        rules.render.output,
    message:
        f"{study.study.study}: everything"


rule report:
    input:
        rules.all.input,
    message:
        f"{study.study.study}: everything"


rule teachers:
    input:
        study.half_way("teachers"),
    message:
        f"{study.study.study}: its teachers"


rule students:
    input:
        study.half_way("students"),
    message:
        f"{study.study.study}: its students"

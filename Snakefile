# kdpipe: which teacher, stopped when, distilled how, gives the best small model?
#
# `snakemake --cores all` runs the study in config.yaml; another one: --configfile studies/X.yaml.
# src/kdpipe/plan/planner.py decides which runs are needed; the rules only say how each is made.

from pathlib import Path

from snakemake.utils import min_version

from kdpipe.workflow.load import load_rule_context
from kdpipe.workflow.rule_context import PACK_MINUTES, SnakemakeOptions

min_version("9.27.1")

# A cluster's profile has `jobs:`, this machine has not. (Snakemake names its executor only after this
# file was read.) `longest_job`, `pack_minutes` and `gpu_gres` are resources in a site's profile.
is_remote = workflow.resource_settings.nodes is not None
site = workflow.resource_settings.default_resources or {}
# The folder of this file, also where another workflow uses it as a module.
snakefile_dir = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
context = load_rule_context(
    config,
    workflow.configfiles,
    default_file=snakefile_dir / "config.yaml",
    is_head=workflow.is_main_process,
    options=SnakemakeOptions(
        is_dry_run=workflow.output_settings.dryrun,
        is_remote=is_remote,
        longest_job=site["longest_job"].value if "longest_job" in site else None,
        pack_minutes=(
            site["pack_minutes"].value if "pack_minutes" in site else PACK_MINUTES
        ),
        gpu_gres=site["gpu_gres"].raw if "gpu_gres" in site else "",
        job_limit=(
            workflow.resource_settings.nodes
            if is_remote
            else workflow.resource_settings.cores
        ),
        retries=lambda: workflow.execution_settings.retries,
        targets=lambda: workflow.dag_settings.targets,  # both are known once this file was read
    ),
)
study_name = context.study.study
# The GPUs of this machine are counted, unless `--resources gpu=N` says how many to use.
if context.gpus and not is_remote:
    workflow.global_resources.setdefault("gpu", context.gpu_slots)


# On this machine `kdpipe run` starts a job as soon as there is a core; a queue needs a limited rate.
onstart:
    context.write_packs()
    if not is_remote:
        from kdpipe.workflow.progress import is_kdpipe_run  # not needed by jobs
        from kdpipe.workflow.run_snakemake import lift_rate_limit

        lift_rate_limit(
            workflow.scheduler,
            workflow.scheduling_settings.max_jobs_per_timespan,
            is_kdpipe_run(),
        )


# The first page of `snakemake --report`.
report: "workflow/report/workflow.rst"


wildcard_constraints:
    name="[^/]+",


include: "workflow/rules/stale.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/logit_cache.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/packs.smk"
include: "workflow/rules/ensembles.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/onnx.smk"
include: "workflow/rules/report.smk"


# The targets: everything, or the runs up to a point.


rule all:
    default_target: True
    input:
        # The records by themselves too: of a file that exists Snakemake makes no missing input.
        lambda wildcards: context.records(),  # the targets, of which it depends, are known by then
        # The report is rendered where the shares of a study come together.
        [] if context.plan.share else rules.render.output,
    message:
        f"{study_name}: everything"


rule report:
    input:
        lambda wildcards: context.records(),
        [] if context.plan.share else rules.render.output,
    message:
        f"{study_name}: everything"


rule teachers:
    input:
        lambda wildcards: context.partial_target("teachers"),
    message:
        f"{study_name}: its teachers"


rule students:
    input:
        lambda wildcards: context.partial_target("students"),
    message:
        f"{study_name}: its students"

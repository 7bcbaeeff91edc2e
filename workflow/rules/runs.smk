# One run is one job, except for short runs on a cluster (packs.smk). Snakemake knows only its record:
# weights, checkpoints and the state of an unfinished run are in the same folder and survive a failed
# job.


rule train:
    input:
        context.inputs,
    output:
        "results/runs/{name}/record.json",
    log:
        "logs/runs/{name}.log",
    # Earlier seeds first; of one seed runs before logit caches, or all would be on the disk at once.
    priority: context.priority
    conda:
        "../../envs/kdpipe.yaml"
    threads: context.threads
    resources:
        mem_mb=context.megabytes,
        runtime=context.minutes,
        gpu=context.run_gpus,
        gres=context.run_gres,
    params:
        spec=context.spec,
        keep=context.checkpoint_epochs,
        options=context.job_options,
    # exec, here and in the other rules: bash would print the whole command of a job that is killed.
    shell:
        "exec kdpipe train --spec {params.spec:q} --keep={params.keep} {params.options:q} > {log} 2>&1"

# One run is one job. Its record is the only output that Snakemake knows: weights, checkpoints and
# the state of an unfinished run lie beside it and survive a failed job.


rule train:
    input:
        study.inputs,
    output:
        "results/runs/{name}/record.json",
    log:
        "logs/runs/{name}.log",
    # Before tables are made for others: else all tables stand on the disk at once.
    priority: 1
    conda:
        "../../envs/kdpipe.yaml"
    threads: study.threads
    resources:
        mem_mb=study.megabytes,
        runtime=study.minutes,
        gpu=study.gpus,
        gres=study.gres,
    params:
        spec=study.spec,
        keep=study.keep,
        means=study.means,
    # exec, here and in the others: bash would say the whole command of one that is killed.
    shell:
        "exec kdpipe train --spec {params.spec:q} --keep={params.keep} {params.means:q} > {log} 2>&1"

# One run is one job. Its record is the only output that Snakemake knows: weights, checkpoints and
# the state of an unfinished run lie beside it and survive a failed job.


rule train:
    input:
        study.run_needs,
    output:
        "results/runs/{name}/record.json",
    log:
        "logs/runs/{name}.log",
    conda:
        "../../envs/kdpipe.yaml"
    threads: study.threads
    params:
        spec=study.spec,
        keep=study.keep,
    shell:
        "kdpipe train --spec {params.spec:q} --keep={params.keep} > {log} 2>&1"

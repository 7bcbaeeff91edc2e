# The features of a finished network on another data set, and a linear classifier on them. Its
# record is the only output that Snakemake knows.


rule probe:
    input:
        study.inputs,
    output:
        "results/probes/{name}/record.json",
    log:
        "logs/probes/{name}.log",
    conda:
        "../../envs/kdpipe.yaml"
    threads: study.threads
    resources:
        mem_mb=study.megabytes,
        runtime=study.minutes,
        gpu=study.gpus_of_a_probe,
        gres=study.gres,
    params:
        spec=study.spec,
        means=study.means,
    shell:
        "exec kdpipe probe --spec {params.spec:q} {params.means:q} > {log} 2>&1"

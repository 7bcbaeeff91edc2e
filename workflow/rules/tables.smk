# A teacher's outputs for every image and view, made once for all the students that learn from
# them, and removed when the last of them is done.


rule table:
    input:
        study.inputs,
    output:
        temp(directory("results/tables/{name}")),
    log:
        "logs/tables/{name}.log",
    conda:
        "../../envs/kdpipe.yaml"
    threads: study.threads
    resources:
        mem_mb=study.megabytes,
        runtime=study.minutes,
        gpu=study.gpus,
    params:
        spec=study.spec,
        means=study.means,
    shell:
        "kdpipe tabulate --spec {params.spec:q} {params.means:q} > {log} 2>&1"

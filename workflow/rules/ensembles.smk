# A second's work on stored outputs: less than a cluster takes to start a job.
localrules:
    score,


rule score:
    input:
        study.inputs,
    output:
        "results/ensembles/{name}/record.json",
    log:
        "logs/ensembles/{name}.log",
    conda:
        "../../envs/kdpipe.yaml"
    params:
        spec=study.spec,
    shell:
        "kdpipe score --spec {params.spec:q} > {log} 2>&1"

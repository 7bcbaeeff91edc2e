# An ensemble is evaluated on stored outputs within a second, less than a cluster takes to start a job.
localrules:
    score,


rule score:
    input:
        context.inputs,
    output:
        "results/ensembles/{name}/record.json",
    log:
        "logs/ensembles/{name}.log",
    priority: context.priority
    conda:
        "../../envs/kdpipe.yaml"
    params:
        spec=context.spec,
    shell:
        "kdpipe score --spec {params.spec:q} > {log} 2>&1"

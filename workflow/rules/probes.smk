# Linear probes: the features of a trained network on another data set, and a linear classifier on
# them. The features stay in the probe's folder; Snakemake knows only the record.


rule probe:
    input:
        context.inputs,
    output:
        "results/probes/{name}/record.json",
    log:
        "logs/probes/{name}.log",
    priority: context.priority
    conda:
        "../../envs/kdpipe.yaml"
    threads: context.threads
    resources:
        mem_mb=context.megabytes,
        runtime=context.minutes,
        gpu=context.probe_gpus,
        gres=context.gres,
    params:
        spec=context.spec,
        options=context.job_options,
    shell:
        "exec kdpipe probe --spec {params.spec:q} {params.options:q} > {log} 2>&1"

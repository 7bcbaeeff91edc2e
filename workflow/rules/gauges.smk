# What a network comes to as a file that ships. It takes times: on this machine it has all cores, so
# that nothing runs beside it.


rule gauge:
    input:
        study.inputs,
    output:
        "results/gauges/{name}/record.json",
    log:
        "logs/gauges/{name}.log",
    conda:
        "../../envs/kdpipe.yaml"
    threads: study.threads
    resources:
        mem_mb=study.megabytes,
        runtime=study.minutes,
        gpu_model="",  # a site that names one means runs: of a job without a GPU it would be asked for one
    params:
        spec=study.spec,
        means=study.means,
    shell:
        "exec kdpipe gauge --spec {params.spec:q} {params.means:q} > {log} 2>&1"

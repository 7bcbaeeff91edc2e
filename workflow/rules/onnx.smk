# Accuracy, size and latency of a trained network as ONNX files. Latency is measured: on this machine
# such a job has all cores, so that nothing runs next to it.


rule gauge:
    input:
        context.inputs,
    output:
        "results/gauges/{name}/record.json",
    log:
        "logs/gauges/{name}.log",
    priority: context.priority
    conda:
        "../../envs/kdpipe.yaml"
    threads: context.threads
    resources:
        mem_mb=context.megabytes,
        runtime=context.minutes,
        gpu_model="",  # where a site's profile names one, the plugin would want a GPU for this job too
    params:
        spec=context.spec,
        options=context.job_options,
    shell:
        "exec kdpipe gauge --spec {params.spec:q} {params.options:q} > {log} 2>&1"

# The logits of a teacher for every image and view, computed once for all the students that learn from
# them; the last of these students removes them. Snakemake knows only a marker file in its own folder:
# results may be shared, and it would remove a cache that another Snakemake still needs.


rule table:
    input:
        context.inputs,
    output:
        temp(touch("logs/tables/{name}.made")),
    log:
        "logs/tables/{name}.log",
    priority: context.priority
    conda:
        "../../envs/kdpipe.yaml"
    threads: context.threads
    resources:
        mem_mb=context.megabytes,
        runtime=context.minutes,
        gpu=context.gpus,
        gres=context.gres,
    params:
        spec=context.spec,
        options=context.job_options,
        students=context.waiting_students,
    shell:
        "exec kdpipe tabulate --spec {params.spec:q} {params.options:q} --students {params.students:q}"
        " > {log} 2>&1"

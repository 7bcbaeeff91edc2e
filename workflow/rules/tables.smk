# A teacher's outputs for every image and view, made once for all the students that learn from
# them, and removed by the last of them. Snakemake knows only a mark in its own folder: results may
# be shared, and it would take the table away from another Snakemake that still needs it.


rule table:
    input:
        study.inputs,
    output:
        temp(touch("logs/tables/{name}.made")),
    log:
        "logs/tables/{name}.log",
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
        means=study.means,
        students=study.students,
    shell:
        "exec kdpipe tabulate --spec {params.spec:q} {params.means:q} --students {params.students:q}"
        " > {log} 2>&1"

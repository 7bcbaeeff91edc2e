# Machines of a cluster often cannot download, so data sets are prepared where Snakemake was started.
# Snakemake knows only a marker file: it removes the output of a rule that is stopped, and other jobs
# may be training on a data set.
localrules:
    prepare,


rule prepare:
    output:
        temp(touch("logs/data/{name}.prepared")),
    log:
        "logs/data/{name}.log",
    priority: context.first_priority
    conda:
        "../../envs/kdpipe.yaml"
    params:
        source=context.data_source,
    shell:
        "kdpipe prepare {params.source:q} > {log} 2>&1"

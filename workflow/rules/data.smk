# The machines of a cluster often cannot download. As of a table, Snakemake knows only a mark: of a
# rule that is stopped it removes the output, which others may be learning from.
localrules:
    prepare,


rule prepare:
    output:
        temp(touch("logs/data/{name}.prepared")),
    log:
        "logs/data/{name}.log",
    conda:
        "../../envs/kdpipe.yaml"
    params:
        source=study.data_source,
    shell:
        "kdpipe prepare {params.source:q} > {log} 2>&1"

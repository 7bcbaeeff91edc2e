# The machines of a cluster often cannot download.
localrules:
    prepare,


rule prepare:
    output:
        "results/data/{name}/card.json",
    log:
        "logs/data/{name}.log",
    conda:
        "../../envs/kdpipe.yaml"
    params:
        source=study.data_source,
    shell:
        "kdpipe prepare {params.source:q} > {log} 2>&1"

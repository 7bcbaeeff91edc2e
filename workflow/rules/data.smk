# The machines of a cluster often cannot download.
localrules:
    prepare,


rule prepare:
    output:
        f"results/data/{study.plan.card.folder}/card.json",
    log:
        f"logs/data/{study.plan.card.folder}.log",
    conda:
        "../../envs/kdpipe.yaml"
    params:
        source=study.data_source,
    shell:
        "kdpipe prepare {params.source:q} > {log} 2>&1"

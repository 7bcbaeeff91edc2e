rule prepare:
    output:
        f"results/data/{study.plan.card.folder}/card.json",
    log:
        f"logs/data/{study.plan.card.folder}.log",
    conda:
        "../../envs/kdpipe.yaml"
    params:
        name=study.study.data.name,
    shell:
        "kdpipe prepare {params.name} > {log} 2>&1"

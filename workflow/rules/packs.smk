# On a cluster several short runs and logit caches share a job, a pack, which makes them one after
# another (src/kdpipe/jobs/pack.py); which ones: src/kdpipe/workflow/packs.py. Snakemake knows no
# record of theirs: it removes the outputs of a job that fails, and here one run fails alone. For
# each there is a marker instead, which is made here once its pack has ended and it is there.
localrules:
    packed,


rule pack:
    input:
        context.pack_inputs,
    output:
        temp("logs/packs/{name}.done"),
    log:
        "logs/packs/{name}.log",
    priority: context.pack_priority
    conda:
        "../../envs/kdpipe.yaml"
    threads: context.pack_threads
    resources:
        mem_mb=context.pack_megabytes,
        runtime=context.pack_minutes,
        gpu=context.gpus,
        gres=context.gres,
        attempt=lambda wildcards, attempt: attempt,
    shell:
        "exec kdpipe pack logs/packs/{wildcards.name}.json --attempt {resources.attempt}"
        " --finished {output} > {log} 2>&1"


# Its name is in the list of its pack, and its files are visible on this machine too.
rule packed:
    input:
        context.packed_inputs,
        pack=context.pack_of,
    output:
        temp(touch("logs/packs/{name}.made")),
    log:
        "logs/packs/{name}.log",
    priority: context.first_priority
    conda:
        "../../envs/kdpipe.yaml"
    params:
        result=context.packed_result,
    shell:
        "grep -qxF {wildcards.name:q} {input.pack}"
        " && timeout 120 sh -c 'until test -e \"$0\"; do sleep 1; done' {params.result:q}"

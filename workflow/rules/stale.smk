# A record may exist and lack something: a checkpoint that the study needs only now, or the result of
# an ensemble at its best epochs. Snakemake takes such a record for up to date where it does not
# remember how it was made (results of another machine, a lost .snakemake). This marker is an input
# of the job, younger than the record, so the job runs again.
localrules:
    again,


rule again:
    output:
        touch("logs/again/{name}"),
    priority: context.first_priority
    message:
        "{wildcards.name}: it is there, and lacks something"

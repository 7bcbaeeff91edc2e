# A record that is there and lacks something: a checkpoint that is asked for later, the best reading of
# an ensemble. Snakemake takes it for up to date where it does not remember how it was made: results
# of another machine, a lost .snakemake. This mark is younger, so the record is made again.
localrules:
    again,


rule again:
    output:
        touch("logs/again/{name}"),
    message:
        "{wildcards.name}: it is there, and lacks something"

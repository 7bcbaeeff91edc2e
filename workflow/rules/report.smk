# The report wants every record that is still to do. When some cannot be had, it is rendered from
# those that can (onerror), with its holes; Snakemake still ends with exit code 1.

import subprocess
import sys


localrules:
    report,


rule report:
    input:
        study.records(),
    output:
        f"{study.reports}/index.md",
        f"{study.reports}/results.csv",
    log:
        f"logs/reports/{study.study.study}.log",
    conda:
        "../../envs/kdpipe.yaml"
    params:
        study=study.study_json,
    shell:
        "kdpipe report - <<< {params.study:q} > {log} 2>&1"


onerror:
    subprocess.run(
        [sys.executable, "-m", "kdpipe", "report", "-"], input=study.study_json, text=True
    )

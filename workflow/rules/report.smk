# The report wants every record that is still to do. When some cannot be had, it is rendered from
# those that can (onerror), with its holes; Snakemake still ends with exit code 1.

from kdpipe.workflow import telling


localrules:
    render,


# Its tables and figures stand on the page, and as files beside it. Which there are is known once they
# are made, and a folder as an output would be emptied first, of a user's own files too.
rule render:
    input:
        study.records(),
    output:
        page=report(
            f"{study.report_folder}/index.html",
            caption="../report/page.rst",
            category="Answer and claims",
            labels={"what": "answer, claims, tables, figures: one page"},
        ),
        text=f"{study.report_folder}/index.md",
        results=report(
            f"{study.report_folder}/results.csv",
            caption="../report/results.rst",
            category="Numbers",
            labels={"what": "every run in every experiment"},
        ),
        claims=report(
            f"{study.report_folder}/claims.json",
            caption="../report/claims.rst",
            category="Answer and claims",
            labels={"what": "the verdict on every claim, as JSON"},
        ),
        # What is missing of a report that is there and says something else: by this it is rendered.
        marks=[touch(mark) for mark in study.report_marks],
    log:
        f"logs/reports/{study.study.study}.log",
    conda:
        "../../envs/kdpipe.yaml"
    params:
        # By a function: in a text that stands here Snakemake takes {x} for a wildcard.
        study=lambda wildcards: study.study_json,
    # Instead of its inputs, which are all runs of the study, in one line.
    message:
        f"report of {study.study.study}, from all its records"
    shell:
        "kdpipe report - <<< {params.study:q} > {log} 2>&1"


onerror:
    telling.report_anyway(study)

# The report needs every record that is still to do. If some jobs fail, `onerror` renders it from the
# records that there are, with gaps; Snakemake still ends with exit code 1.

from kdpipe.workflow import progress


localrules:
    render,


# Tables and figures are on the page, and in files next to it. They are no outputs: which there are is
# known only after rendering, and Snakemake empties a folder that is an output, of users' files too.
rule render:
    input:
        lambda wildcards: context.records(),
    output:
        page=report(
            f"{context.report_dir}/index.html",
            caption="../report/page.rst",
            category="Answer and claims",
            labels={"what": "answer, claims, tables, figures: one page"},
        ),
        text=f"{context.report_dir}/index.md",
        results=report(
            f"{context.report_dir}/results.csv",
            caption="../report/results.rst",
            category="Numbers",
            labels={"what": "every run in every experiment"},
        ),
        claims=report(
            f"{context.report_dir}/claims.json",
            caption="../report/claims.rst",
            category="Answer and claims",
            labels={"what": "the verdict on every claim, as JSON"},
        ),
        # A missing file that makes Snakemake render a report again which exists and is out of date.
        marks=[touch(marker) for marker in context.report_markers],
    log:
        f"logs/reports/{study_name}.log",
    conda:
        "../../envs/kdpipe.yaml"
    params:
        # A function, since Snakemake takes {x} in a string for a wildcard.
        study=lambda wildcards: context.study_json,
    # One line in place of the inputs, which are all runs of the study.
    message:
        f"report of {study_name}, from all its records"
    shell:
        "kdpipe report - <<< {params.study:q} > {log} 2>&1"


onerror:
    progress.render_partial_report(context)

"""The workflow's Python side: loading the study, rule inputs and resources, progress."""

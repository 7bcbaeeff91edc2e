"""The results folder as a whole: verified, pruned, archived, and compared with its data.

Unlike the rest of `kdpipe.runs`, these modules know plans and analyses.
"""

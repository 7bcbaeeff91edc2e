"""Experiments and ensembles that need each other in a circle, or lean on others too deep."""

from kdpipe.study.check import Check

CHECK = Check(90, lambda sound: sound.circles)

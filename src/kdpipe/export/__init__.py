"""Exports: the weights, ONNX graphs and model card of a run, and what loads them again."""

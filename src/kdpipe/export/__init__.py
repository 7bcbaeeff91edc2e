"""Exports: the weights, ONNX graphs and model card of a run, and the classifier that loads them."""

"""Exports: the weights, ONNX graphs and model card of a run, and the classifier that loads them."""

import os

# ONNX Runtime sends usage data to Microsoft, unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

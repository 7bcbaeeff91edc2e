"""Pretrained networks: their weights, and the input that these expect."""

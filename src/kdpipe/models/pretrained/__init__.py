"""Pretrained networks: their weights, and the images that these want."""

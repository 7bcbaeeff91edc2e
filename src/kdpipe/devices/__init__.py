"""Devices of runs: the CPU, or for each run a GPU that it leases."""

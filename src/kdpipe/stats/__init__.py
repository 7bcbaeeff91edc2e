"""Intervals, tests, power, variance components and ranks; nothing here knows of studies."""

"""Losses: one term a file (`TERM`), the methods that sum them, and custom terms of users."""

"""The study file: its schema and its validation before any job."""

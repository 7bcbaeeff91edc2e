"""The study file: its schema, and every mistake in it, found before any job."""

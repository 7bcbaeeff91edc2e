"""A study file: its grammar, and every mistake in it, found before any job."""

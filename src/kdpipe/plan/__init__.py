"""Every run, ensemble, table and probe that a study needs, with its parents and its price."""

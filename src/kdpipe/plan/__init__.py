"""Every run, ensemble, logit cache and probe that a study needs, with parents and costs."""

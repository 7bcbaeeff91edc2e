"""Training one network, and what a job on a GPU or a CPU needs for it. Runs in jobs alone."""

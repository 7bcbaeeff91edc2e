"""Training, evaluation, and teachers: what runs in jobs alone, on a GPU or a CPU."""

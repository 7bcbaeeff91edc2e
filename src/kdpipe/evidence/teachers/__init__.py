"""What several claims ask of teachers: of the largest one, and of those that stopped early."""

"""What is said of a study before it is run: what will be tested, and what it can find."""

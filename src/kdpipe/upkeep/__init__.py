"""What a person asks of a results folder: is it whole, wanted, finished, and kept."""

"""What a network brings that is not trained here: its weights, and what images they want."""

"""From a run to a file that ships: its weights, graphs and card, and what loads them again."""

"""kdpipe: which teacher, stopped when, distilled how, gives the best small model?"""

__version__ = "0.1.0"

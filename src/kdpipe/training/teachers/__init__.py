"""What a teacher says to its student: live, or from a table; one network, or several averaged."""

"""From the records to what a study says: the tidy frame, the answer, the verdicts on claims."""

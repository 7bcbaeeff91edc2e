"""Analysis of records: the tidy frame, the recommendation, and the verdicts on claims."""

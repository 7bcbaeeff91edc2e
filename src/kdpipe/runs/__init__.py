"""What a run leaves: the files of its folder, its record, and an archive of many records."""

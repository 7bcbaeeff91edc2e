"""Tables, one in each file, which defines `TABLE`; its name is that of the file."""

"""The runs that there are, in a table; two of them beside each other."""

"""The report of a run, a sweep or an evaluation: its kinds of section, and who fills them."""

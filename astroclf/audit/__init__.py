"""The check of a data set: everything that is looked for before a training is spent on it, and the report."""

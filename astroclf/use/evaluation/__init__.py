"""The verb `evaluate`: models asked about labelled images that they have not seen."""

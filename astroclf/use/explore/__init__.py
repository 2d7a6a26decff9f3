"""The verb `explore`: images as a model sees them, on a map, with their neighbours."""

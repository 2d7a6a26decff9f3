"""A trained model put to use: the jobs of the verbs predict, evaluate, explain, export and explore."""

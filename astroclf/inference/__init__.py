"""A trained model on images that nobody has labelled: how they become what it learned from, and its answers."""

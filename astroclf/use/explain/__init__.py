"""Heat maps of where a model looked: computed, drawn, written down."""

"""A model as others run it: without astroclf, without its registry, or without the training's dependencies."""

"""``astroclf predict``: answers on any number of images, as a table."""

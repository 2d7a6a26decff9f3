"""Augmentation: parameters drawn once per sample, and two executors (OpenCV, torch) that carry them out alike.

`augmentation` declares the recipe; `randomness` draws; `steps` turns a recipe and draws into numbers; `on_cpu` and
`on_torch` apply them to pixels; `dihedral` gives the eight views of a square image.
"""

"""Augmentation: parameters drawn once per sample, and two executors (OpenCV, torch) that carry them out alike.

`recipe` declares what may happen; `draws` has the random numbers; `plan` turns a recipe and draws into steps; `on_cpu`
and `on_torch` apply them to pixels; `dihedral` gives the eight views of a square image.
"""

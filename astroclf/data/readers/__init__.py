"""Readers of data sets: one file for each format, and what all of them share."""

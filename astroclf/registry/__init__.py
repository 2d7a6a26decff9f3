"""Registered models: packages, versions with their aliases, the promotion gate and its decisions."""

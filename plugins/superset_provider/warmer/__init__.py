"""Filling Superset's cache with what a browser will ask, and proving that it hits."""

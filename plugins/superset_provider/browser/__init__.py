"""What a browser asks Superset for when somebody opens a dashboard and visits all its tabs. Pure logic: no network.

Superset's cache key contains the filters in their order, so a warm-up hits only if it asks exactly what the browser
asks.
"""

"""Dremio SQL: what a statement is, which datasets it names, and how DuckDB is asked the same question."""

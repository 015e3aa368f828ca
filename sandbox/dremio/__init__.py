"""A small server that speaks Dremio's REST v3 and Arrow Flight over DuckDB, with its data in an S3 lake."""

"""The shop: the source data of the platform, made from TPC-H and loaded into PostgreSQL and the partner's drop zone."""

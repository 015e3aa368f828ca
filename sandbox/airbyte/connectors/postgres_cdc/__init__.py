"""source-postgres with ``replication_method`` CDC: a snapshot, then the changes of a replication slot."""

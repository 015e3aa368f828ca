-- Where the source's log and the slots that Airbyte reads it through stood, whenever somebody looked.
CREATE TABLE IF NOT EXISTS replication_slot_history (
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    connection VARCHAR(255) NOT NULL,
    slot VARCHAR(255) NOT NULL,
    wal_status VARCHAR(50) NOT NULL,
    wal_position PG_LSN NOT NULL,
    confirmed_position PG_LSN,
    retained_bytes BIGINT,
    PRIMARY KEY (connection, recorded_at)
);

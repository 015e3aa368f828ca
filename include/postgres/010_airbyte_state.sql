-- The sync state of every Airbyte connection after its last run.
CREATE TABLE IF NOT EXISTS airbyte_state (
    connection_id UUID PRIMARY KEY,
    state JSONB NOT NULL,
    updated_at TIMESTAMP DEFAULT NOW()
);

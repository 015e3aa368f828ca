-- What became of every micro-batch of change data: how many changes, what each step took, how old they were when shown.
CREATE TABLE IF NOT EXISTS micro_batch_history (
    source VARCHAR(255) NOT NULL,
    job_id BIGINT NOT NULL,
    dag_id VARCHAR(255) NOT NULL,
    run_id VARCHAR(255) NOT NULL,
    changes BIGINT NOT NULL,
    first_lsn BIGINT,
    last_lsn BIGINT,
    newest_commit TIMESTAMP,
    asked_at TIMESTAMP NOT NULL,
    shown_at TIMESTAMP NOT NULL,
    sync_seconds DOUBLE PRECISION NOT NULL,
    load_seconds DOUBLE PRECISION NOT NULL,
    metadata_seconds DOUBLE PRECISION NOT NULL,
    warm_seconds DOUBLE PRECISION NOT NULL,
    oldest_seconds DOUBLE PRECISION NOT NULL,
    late BOOLEAN NOT NULL,
    slot_lag_bytes BIGINT,
    PRIMARY KEY (source, job_id)
);
CREATE INDEX IF NOT EXISTS micro_batch_history_by_time ON micro_batch_history (shown_at);

-- What became of every query of a dashboard warm-up: one row for each chart or filter, and user.
CREATE TABLE IF NOT EXISTS chart_warming_history (
    dag_id VARCHAR(255) NOT NULL,
    run_id VARCHAR(255) NOT NULL,
    position INTEGER NOT NULL,
    warmed_at TIMESTAMP NOT NULL,
    dashboard TEXT NOT NULL,
    chart TEXT NOT NULL,
    chart_id INTEGER,
    dataset TEXT,
    superset_user TEXT NOT NULL,
    cold_ms DOUBLE PRECISION,
    warm_ms DOUBLE PRECISION,
    row_count BIGINT,
    hit BOOLEAN NOT NULL,
    reason TEXT,
    message TEXT,
    PRIMARY KEY (dag_id, run_id, position)
);
CREATE INDEX IF NOT EXISTS chart_warming_history_by_time ON chart_warming_history (warmed_at);

-- Fingerprints of what was applied to systems that do not show everything they hold (passwords, imported bundles).
CREATE TABLE IF NOT EXISTS applied_configuration (
    system TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    applied_at TIMESTAMP NOT NULL DEFAULT NOW(),
    PRIMARY KEY (system, kind, name)
);

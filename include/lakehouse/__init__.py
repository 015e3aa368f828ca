"""The package behind the DAGs: configuration, plan, bronze, logs, run history, service checks and set-up."""

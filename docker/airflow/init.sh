#!/usr/bin/env bash
# Bring Airflow's metadata database up to date, with the pools that the DAGs need, and write the administrator's password
# where the auth manager reads it.
set -euo pipefail

airflow db migrate
airflow pools import "$LAKEHOUSE_INCLUDE_DIR/airflow/pools.json"
python - <<'PY'
import json
import os
from pathlib import Path

path = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
temporary = path.with_suffix(".tmp")
temporary.touch(mode=0o600)
temporary.write_text(json.dumps({os.environ["AIRFLOW_USER"]: os.environ["AIRFLOW_PASSWORD"]}))
temporary.replace(path)
PY

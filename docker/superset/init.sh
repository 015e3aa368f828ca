#!/usr/bin/env bash
# Bring Superset's metadata database up to date and make the administrator's password the one in the environment.
set -euo pipefail

superset db upgrade
superset fab create-admin --username "$SUPERSET_USER" --firstname Platform --lastname Admin \
    --email admin@example.com --password "$SUPERSET_PASSWORD"
# create-admin leaves an administrator who is there alone, so a changed password has to be set.
superset fab reset-password --username "$SUPERSET_USER" --password "$SUPERSET_PASSWORD"
superset init

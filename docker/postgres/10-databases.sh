#!/usr/bin/env bash
# Runs once, when the data volume is empty: one database and one owner for each of the four that live here.
set -euo pipefail

create() {
    local name="$1" password_variable="$2" attributes="${3:-}"
    # \getenv keeps the password out of the process list.
    psql --username "$POSTGRES_USER" --dbname postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set name="$name" <<SQL
\getenv password $password_variable
create role :"name" login $attributes password :'password';
create database :"name" owner :"name";
revoke connect on database :"name" from public;
SQL
}

create airflow AIRFLOW_POSTGRES_PASSWORD
create superset SUPERSET_POSTGRES_PASSWORD
create platform PLATFORM_POSTGRES_PASSWORD
# Change data capture reads the shop's write-ahead log as this role.
create shop SHOP_POSTGRES_PASSWORD replication

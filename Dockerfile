# The project on Airflow's own image: the locked Airflow environment, dbt in an environment of its own, and our code.
# The tag says which Airflow; requirements.txt has to lock the same one (a test compares the two).
FROM apache/airflow:3.3.2-python3.11

# dbt and Airflow want different versions of the same libraries (protobuf, pathspec): two environments.
USER root
RUN install -d -o airflow -g root -m 0775 /opt/dbt /opt/airflow/auth /opt/airflow/cosmos-cache /opt/airflow/logs
USER airflow

COPY --chown=airflow:root requirements-dbt.txt /opt/airflow/requirements-dbt.txt
RUN python -m venv /opt/dbt \
    && /opt/dbt/bin/pip install --no-cache-dir --require-hashes -r /opt/airflow/requirements-dbt.txt

COPY --chown=airflow:root requirements.txt /opt/airflow/requirements.txt
RUN pip install --no-cache-dir --require-hashes -r /opt/airflow/requirements.txt

WORKDIR /opt/airflow
COPY --chown=airflow:root pyproject.toml README.md ./
COPY --chown=airflow:root plugins/ plugins/
COPY --chown=airflow:root include/ include/
# Editable: the code finds the declared files in include/ beside it. The dependencies are there already.
RUN pip install --no-cache-dir --no-deps --editable .

COPY --chown=airflow:root dbt/ dbt/
# The parse state: without it the first dbt start of every container parses all models. It needs no connection.
RUN cd dbt && DBT_SEND_ANONYMOUS_USAGE_STATS=false /opt/dbt/bin/dbt parse --profiles-dir .

COPY --chown=airflow:root dags/ dags/
COPY --chown=airflow:root docker/airflow/ docker/

ENV DBT_PROJECT_DIR=/opt/airflow/dbt \
    DBT_EXECUTABLE=/opt/dbt/bin/dbt \
    LAKEHOUSE_INCLUDE_DIR=/opt/airflow/include \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=/opt/airflow/auth/passwords.json \
    AIRFLOW__COSMOS__CACHE_DIR=/opt/airflow/cosmos-cache \
    AIRFLOW__COSMOS__ENABLE_TELEMETRY=False \
    DBT_SEND_ANONYMOUS_USAGE_STATS=false

{#
    The comment in front of every statement: JSON, so that a job in Dremio (sys.jobs_recent) leads back to the node, the
    dbt invocation and the Airflow task that sent it; by the last, lakehouse.dbt_statements ends what a killed task has
    left. The keys app .. target_name are those of the adapter's own comment.
#}
{% macro query_comment(node, connection_name) -%}
    {%- set entries = {
        'app': 'dbt',
        'dbt_version': dbt_version,
        'profile_name': target.get('profile_name'),
        'target_name': target.get('target_name'),
        'invocation_id': invocation_id,
    } -%}
    {%- if env_var('AIRFLOW_CTX_TASK_ID', '') -%}
        {%- do entries.update({'airflow': {
            'dag_id': env_var('AIRFLOW_CTX_DAG_ID'),
            'run_id': env_var('AIRFLOW_CTX_DAG_RUN_ID'),
            'task_id': env_var('AIRFLOW_CTX_TASK_ID'),
        }}) -%}
    {%- endif -%}
    {%- if node is not none -%}
        {%- do entries.update({'node_id': node.unique_id}) -%}
    {%- else -%}
        {%- do entries.update({'connection_name': connection_name}) -%}
    {%- endif -%}
    {{ return(tojson(entries)) }}
{%- endmacro %}

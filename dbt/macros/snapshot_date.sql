{#
    The day that a daily snapshot stands for, as YYYY-MM-DD: the orchestrator's logical date when it sets
    LAKEHOUSE_SNAPSHOT_DATE (so that running a past day again rewrites that day), else the day the run started (UTC).
#}
{% macro snapshot_date() -%}
    {{ return(env_var('LAKEHOUSE_SNAPSHOT_DATE', run_started_at.strftime('%Y-%m-%d'))) }}
{%- endmacro %}

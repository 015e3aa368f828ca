{#
    The models of change data, one macro for each kind; stream is a table of `vars: change_data` in dbt_project.yml.
    stg_postgres_cdc__<stream> is the change log as it was landed, <mart>_hot what of it is hot, <mart>_cold the latest
    versions as of the last merge, <mart>_unified the table as it stands in the source.
#}
{% macro change_log(stream, source) -%}
    {%- set table = var('change_data')[stream] -%}
    with source as (
        select * from {{ source }}
    ),

    changes as (
        select
    {%- for column in table.key + table.columns %}
        {{ 'cast(' ~ column ~ ' as ' ~ table.casts[column] ~ ') as ' ~ column if column in table.casts else column }},
    {%- endfor %}
            _ab_cdc_lsn,
            _ab_cdc_sequence,
            sync_id,
            _airbyte_extracted_at as extracted_at,
            {{ iso_timestamp('_ab_cdc_updated_at') }} as committed_at,
            case when _ab_cdc_deleted_at is null then 0 else 1 end as is_deleted,
            case
                when
                    _ab_cdc_deleted_at is not null
    {%- for column in table.key + table.columns %}
                    and {{ column }} is null
    {%- endfor %}
                    then 1
                else 0
            end as is_truncation,
            dir0 as load_folder
        from source
    )

    select * from changes
{%- endmacro %}

{% macro hot_changes(stream, changes, cold) -%}
    {%- set table = var('change_data')[stream] -%}
    with changes as (
        select * from {{ changes }}
    ),

    -- What cold does not have yet stays hot, however old it is: nights without a run leave no gap.
    boundary as (
        select coalesce(max(sync_id), 0) as sync_id
        from {{ cold }}
    )

    select
    {%- for column in table.key + table.columns %}
        changes.{{ column }},
    {%- endfor %}
        changes._ab_cdc_lsn,
        changes._ab_cdc_sequence,
        changes.sync_id,
        changes.extracted_at,
        changes.committed_at,
        cast(date_trunc('minute', changes.committed_at) as timestamp) as committed_minute,
        changes.is_deleted,
        changes.is_truncation
    from changes
    cross join boundary
    where
        changes.load_folder >= 'date=' || cast(cast(date_sub(current_date, {{ var('hot_days') }}) as date) as varchar)
        or changes.sync_id >= boundary.sync_id
{%- endmacro %}

{% macro cold_versions(stream, changes) -%}
    {%- set table = var('change_data')[stream] -%}
    {%- set cold = this if is_incremental() else none -%}
    with {{ latest_versions(stream, changes, cold, cold_until(cold, days=1)) }}

    -- A row that is gone stays as a mark: a merge can take no row out. What a run did not change is not written again.
    select
        {{ (table.key + table.columns) | join(',\n    ') }},
        _ab_cdc_lsn,
        _ab_cdc_sequence,
        sync_id,
        extracted_at,
        is_gone as is_deleted
    from latest
    where is_change = 1 or is_gone > is_deleted
{%- endmacro %}

{#
    more_columns: expressions on the table's columns, with their names.
#}
{% macro unified_rows(stream, hot, cold, more_columns=[]) -%}
    {%- set table = var('change_data')[stream] -%}
    with {{ latest_versions(stream, hot, cold, cold_until(cold, hours=1)) }}

    select
        {{ (table.key + table.columns + more_columns) | join(',\n    ') }}
    from latest
    where is_gone = 0
{%- endmacro %}

{#
    A literal: the time up to which a cold table has everything that Airbyte had read, less some slack; nothing when there is no
    cold. Of what is older no file need be opened: a literal is what Dremio prunes files by, which it does not do by
    what a query finds. It is taken when dbt runs; as cold only grows, an old one makes a query read more, not less. The
    times of syncs ascend as their numbers do; the slack is how far Airbyte's clock may be set back.
#}
{% macro cold_until(cold, days=0, hours=0) -%}
    {%- if execute and cold is not none and load_relation(cold) is not none -%}
        {%- set found = run_query(boundary_time(cold)).columns[0].values()[0] -%}
        {%- if found is not none -%}
            {%- set until = found - modules.datetime.timedelta(days=days, hours=hours) -%}
            timestamp '{{ until.strftime('%Y-%m-%d %H:%M:%S') }}'
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{% macro boundary_time(cold) -%}
    select min(extracted_at) as extracted_at
    from {{ cold }}
    where sync_id = (select max(boundary.sync_id) from {{ cold }} as boundary)
{%- endmacro %}

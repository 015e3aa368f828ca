{#
    Common table expressions that bring the change log of a table and its cold copy down to one row per key, `latest`:
    the version with the greatest (_ab_cdc_lsn, _ab_cdc_sequence). `is_gone` says whether a delete or a TRUNCATE took the
    row away, `is_change` whether the version comes from the change log.

    - A key's versions are in the order of their record LSNs, since a row is locked until its transaction has committed.
      Between keys that is not so: what commits later can have smaller LSNs. Hence the boundary between cold and hot is a
      sync, never an LSN. It is read twice (>=): a sync may have been half visible when cold was built.
    - A TRUNCATE is a delete without any value; it takes everything with a smaller LSN.
    - A value stored out of line that an UPDATE did not touch arrives as Debezium's placeholder (REPLICA IDENTITY DEFAULT):
      the key's last value that is none counts. Only columns of text can hold it.

    stream: a table of `vars: change_data` in dbt_project.yml.
    changes: relation with the change log: key, columns, _ab_cdc_lsn, _ab_cdc_sequence, sync_id, extracted_at, is_deleted,
        is_truncation.
    cold: relation with key, columns, _ab_cdc_lsn, _ab_cdc_sequence, sync_id, extracted_at, is_deleted; none when there is
        no cold yet.
    read_from: a time; what Airbyte had read before it is in cold, and its files are not opened. Nothing: all are read.
#}
{% macro latest_versions(stream, changes, cold, read_from='') -%}
    {%- set table = var('change_data')[stream] -%}
    {%- set key = table.key -%}
    {%- set text_columns = table.text_columns -%}
    {%- set carried = key + table.columns + ['_ab_cdc_lsn', '_ab_cdc_sequence', 'sync_id', 'extracted_at', 'is_deleted'] -%}
    {%- set newest_first = '_ab_cdc_lsn desc, _ab_cdc_sequence desc' -%}
    boundary as (
        {%- if cold is none %}
        select 0 as sync_id
        {%- else %}
        select coalesce(max(sync_id), 0) as sync_id
        from {{ cold }}
        {%- endif %}
    ),

    changes as (
        select change_log.*
        from {{ changes }} as change_log
        cross join boundary
        where
            change_log.sync_id >= boundary.sync_id
            {%- if read_from %}
            and change_log.extracted_at >= {{ read_from }}
            {%- endif %}
    ),

    truncation as (
        select coalesce(max(_ab_cdc_lsn), -1) as truncated_lsn
        from changes
        where is_truncation = 1
    ),

    versions as (
        select
            {{ carried | join(',\n            ') }},
            1 as is_change
        from changes
        where
            is_truncation = 0
            {%- for column in key %}
            and {{ column }} is not null
            {%- endfor %}
        {%- if cold is not none %}
        union all
        select
            {{ carried | join(',\n            ') }},
            0 as is_change
        from {{ cold }}
        {%- endif %}
    ),

    ranked as (
        select
            versions.*,
            row_number() over (
                partition by {{ key | join(', ') }}
                order by {{ newest_first }}, is_change asc
            ) as version_rank
        from versions
    ),

    newest as (
        select *
        from ranked
        where version_rank = 1
    ),
    {%- if text_columns %}

    -- Few keys lack a value, mostly none: only theirs are looked up.
    incomplete as (
        select {{ key | join(', ') }}
        from newest
        where
            {% for column in text_columns -%}
            {{ 'or ' if not loop.first }}{{ column }} = '{{ unavailable_value() }}'
            {% endfor %}
    ),

    sent as (
        select
            {%- for column in key %}
            versions.{{ column }},
            {%- endfor %}
            {%- for column in text_columns %}
            first_value(versions.{{ column }}) over (
                partition by versions.{{ key | join(', versions.') }}
                order by
                    case when versions.{{ column }} = '{{ unavailable_value() }}' then 1 else 0 end asc,
                    versions._ab_cdc_lsn desc, versions._ab_cdc_sequence desc
            ) as {{ column }},
            {%- endfor %}
            row_number() over (
                partition by versions.{{ key | join(', versions.') }}
                order by versions._ab_cdc_lsn desc, versions._ab_cdc_sequence desc
            ) as version_rank
        from versions
        inner join incomplete
            on {% for column in key -%}
            versions.{{ column }} = incomplete.{{ column }}{{ ' and ' if not loop.last }}
            {%- endfor %}
    ),
    {%- endif %}

    latest as (
        select
            {%- for column in carried if column not in text_columns %}
            newest.{{ column }},
            {%- endfor %}
            {%- for column in text_columns %}
            case
                when newest.{{ column }} = '{{ unavailable_value() }}'
                    then nullif(sent.{{ column }}, '{{ unavailable_value() }}')
                else newest.{{ column }}
            end as {{ column }},
            {%- endfor %}
            newest.is_change,
            case
                when newest.is_deleted = 1 or newest._ab_cdc_lsn < truncation.truncated_lsn then 1 else 0
            end as is_gone
        from newest
        cross join truncation
        {%- if text_columns %}
        left join sent
            on
                sent.version_rank = 1
                {%- for column in key %}
                and newest.{{ column }} = sent.{{ column }}
                {%- endfor %}
        {%- endif %}
    )
{%- endmacro %}

{# What Debezium, and so Airbyte, sends in place of a value it was not given. #}
{% macro unavailable_value() -%}
    __debezium_unavailable_value
{%- endmacro %}

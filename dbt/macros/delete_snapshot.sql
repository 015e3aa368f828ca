{#
    Takes out the rows of the snapshot that is about to be appended, so that building the same day twice leaves one
    snapshot of that day and every other day as it was.
#}
{% macro delete_snapshot(relation) -%}
    {%- if is_incremental() -%}
        delete from {{ relation }} where "snapshot" = cast('{{ snapshot_date() }}' as date)
    {%- endif -%}
{%- endmacro %}

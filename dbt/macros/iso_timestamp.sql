{#
    A time in UTC that is text in ISO 8601, `2026-03-01T10:00:00.123456Z` with any number of digits or none behind the
    second, as a timestamp. Milliseconds is what Dremio keeps.
#}
{% macro iso_timestamp(column) -%}
    cast(replace(replace(substr({{ column }}, 1, 23), 'T', ' '), 'Z', '') as timestamp)
{%- endmacro %}

{# Every value of the column is at least `minimum`; NULLs pass (not_null is a test of its own). #}
{% test at_least(model, column_name, minimum) %}
    select {{ column_name }}
    from {{ model }}
    where {{ column_name }} < {{ minimum }}
{% endtest %}

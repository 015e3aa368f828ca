{#
    An order that was in fct_orders and whose latest version has no positive amount any more. A merge cannot take it
    out, and leaving it would make the incremental table differ from one built from nothing.
#}
{% macro delete_orders_without_value(relation) -%}
    {%- if is_incremental() -%}
        delete from {{ relation }}
        where order_id in (select order_id from {{ ref('stg_orders') }} where amount <= 0)
    {%- endif -%}
{%- endmacro %}

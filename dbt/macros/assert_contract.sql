{#
    Checks a model's contract before anything of the old table is touched. dbt-dremio drops a table and then builds the
    new one; checked in between, as the adapter does it, a broken contract would leave no table at all.
#}
{% macro assert_contract() -%}
    {%- if execute and model.contract is defined and model.contract.enforced -%}
        {%- do get_assert_columns_equivalent(sql) -%}
    {%- endif -%}
{%- endmacro %}

{#
    The adapter's create_table_as with three changes; the adapter itself stays unmodified.

    1. Table properties. Gold is ZSTD, and Dremio takes the codec of an Iceberg table as the table property
       'write.parquet.compression-codec'. dbt-dremio 1.11 has no config that ends up in TBLPROPERTIES, so the model
       config `parquet_compression` (snappy | zstd | gzip) is written out here.
    2. Clause order. Dremio's grammar wants the column list straight after the table name, before PARTITION BY. The
       adapter writes it last, which Dremio rejects for a model that has both an enforced contract and partitions.
    3. The contract is not checked here, but in a pre-hook of the marts: see assert_contract.

    Grammar: CREATE TABLE t (columns) PARTITION BY .. DISTRIBUTE BY .. LOCALSORT BY .. TBLPROPERTIES (..) STORE AS (..)
    WITH SINGLE WRITER AS select.
#}
{% macro dremio__create_table_as(temporary, relation, sql) -%}
    {%- set sql_header = config.get('sql_header', none) -%}
    {%- set contract = config.get('contract') -%}
    {{ sql_header if sql_header is not none }}
    create table {{ relation }}
    {% if contract and contract.enforced %}
        {{ get_table_columns_and_constraints() }}
        {% set sql = get_select_subquery(sql) %}
    {% endif %}
    {{ partition_method() }} {{ config_cols("partition by") }}
    {{ config_cols("distribute by") }}
    {{ config_cols("localsort by") }}
    {{ table_properties_clause() }}
    {{ store_as_clause() }}
    {{ single_writer_clause() }}
    as (
        {{ sql }}
    )
{%- endmacro %}

{% macro table_properties_clause() -%}
    {%- set codec = config.get('parquet_compression') -%}
    {%- if codec is not none -%}
        {%- if codec not in ['snappy', 'zstd', 'gzip'] -%}
            {% do exceptions.raise_compiler_error(
                "parquet_compression of " ~ model.name ~ " is '" ~ codec ~ "'; Dremio writes snappy, zstd or gzip"
            ) %}
        {%- endif -%}
        tblproperties ('write.parquet.compression-codec' = '{{ codec }}')
    {%- endif -%}
{%- endmacro %}

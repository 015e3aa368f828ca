{#
    The table has exactly the columns, with the types, that the model's yml declares. For incremental models whose
    on_schema_change is sync_all_columns: dbt refuses an enforced contract on those, this test holds the same line.
#}
{% test has_declared_columns(model) %}
    {%- set problems = [] -%}
    {%- if execute -%}
        {%- set node = graph.nodes.values()
            | selectattr('resource_type', 'equalto', 'model')
            | selectattr('alias', 'equalto', model.identifier)
            | selectattr('schema', 'equalto', model.schema)
            | first -%}
        {%- set actual = {} -%}
        {%- for column in adapter.get_columns_in_relation(model) -%}
            {%- do actual.update({column.name | lower: column.data_type | lower | replace('character varying', 'varchar')}) -%}
        {%- endfor -%}
        {%- for name, column in node.columns.items() -%}
            {%- set declared = column.data_type | lower | replace(' ', '') -%}
            {%- set found = actual.pop(name | lower, 'no such column') -%}
            {%- if found.split('(')[0] != declared.split('(')[0] -%}
                {%- do problems.append([name, declared, found]) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- for name, found in actual.items() -%}
            {%- do problems.append([name, 'not declared', found]) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for name, declared, found in problems %}
        select
            '{{ name }}' as column_name,
            '{{ declared }}' as declared_type,
            '{{ found }}' as actual_type
        {{ 'union all' if not loop.last }}
    {%- else %}
        select column_name, declared_type, actual_type
        from (select 'none' as column_name, 'none' as declared_type, 'none' as actual_type) as no_problem
        where 1 = 0
    {%- endfor %}
{% endtest %}

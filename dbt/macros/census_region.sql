{#
    The region of a US state by its two letters, as the Census Bureau divides the country
    (https://www2.census.gov/geo/pdfs/maps-data/maps/reference/us_regdiv.pdf); NULL for anything else.
#}
{% macro census_region(state) -%}
    case
        when {{ state }} in ('CT', 'MA', 'ME', 'NH', 'NJ', 'NY', 'PA', 'RI', 'VT') then 'Northeast'
        when {{ state }} in ('IA', 'IL', 'IN', 'KS', 'MI', 'MN', 'MO', 'ND', 'NE', 'OH', 'SD', 'WI') then 'Midwest'
        when {{ state }} in (
            'AL', 'AR', 'DC', 'DE', 'FL', 'GA', 'KY', 'LA', 'MD', 'MS', 'NC', 'OK', 'SC', 'TN', 'TX', 'VA', 'WV'
        ) then 'South'
        when {{ state }} in (
            'AK', 'AZ', 'CA', 'CO', 'HI', 'ID', 'MT', 'NM', 'NV', 'OR', 'UT', 'WA', 'WY'
        ) then 'West'
    end
{%- endmacro %}

-- The shop, made from TPC-H. Variables set before: last_day (date), first_names, last_names, streets, street_kinds,
-- mail_domains (lists), cities (list of structs). Views read before: customer, orders, lineitem, part of TPC-H.

-- A number between 0 and 2^32 that depends on a key and a salt only: xor-shift and multiply, twice, as MurmurHash finishes.
-- DuckDB's own hash() may change with a release, and the shop has to be the same on every machine.
create macro stir(value, shift, factor) as (xor(value, value >> shift) * factor) & 4294967295;
create macro start(key, salt) as
    (key::ubigint * 2654435761 + salt::ubigint * 374761393 + 668265263) & 4294967295;
create macro roll(key, salt) as
    stir(stir(stir(start(key, salt), 16, 2246822519), 13, 3266489917), 16, 1);
create macro share(key, salt) as roll(key, salt) / 4294967296.0;
create macro pick(words, key, salt) as words[1 + (roll(key, salt) % len(words))::integer];
create macro seconds(amount) as to_microseconds((amount * 1000000)::bigint);
create macro spread(key, salt, longest) as seconds(share(key, salt) * longest);

-- TPC-H uses 8 of every 32 order keys; a shop counts its orders 1, 2, 3.
create macro dense(key) as (((key >> 5) << 3) | (key & 7))::bigint;
-- The 2406 days of TPC-H's calendar onto the 365 days that end on the shop's last day.
create macro shop_day(day) as
    getvariable('last_day') - 364 + ((day - date '1992-01-01') * 365 // 2406)::integer;
-- What a unit costs: TPC-H's retail prices all lie between 900 and 2100; these lie between 4 and 500, most of them low.
create macro unit_price(part_key, retail_price) as
    round(retail_price::double * (0.005 + 0.23 * pow(share(part_key, 1), 3)), 2)::decimal(12, 2);

create view item as
select
    dense(l_orderkey) as order_id,
    l_linenumber::integer as line_number,
    l_partkey::bigint as product_id,
    (1 + (l_quantity::integer - 1) % 6)::integer as quantity,
    -- TPC-H prices a line at quantity times the part's retail price, which saves a join with the parts.
    unit_price(l_partkey, l_extendedprice / l_quantity) as unit_price,
    l_discount::decimal(4, 2) as discount,
    round(
        ((1 + (l_quantity::integer - 1) % 6) * unit_price(l_partkey, l_extendedprice / l_quantity)
            * (1 - l_discount::decimal(4, 2)))::decimal(18, 4), 2
    )::decimal(12, 2) as amount
from lineitem;

-- One row an order, as it really was; `later_*` is its second version, for the one order in a hundred that has one.
-- Timestamps end at 01:00 on the last day, when the nightly batch starts: later ones could lie in the future of the clock, and
-- an incremental sync would then pass over the changes somebody makes today.
create table clean_order as
with total as (
    select order_id, sum(amount)::decimal(12, 2) as amount from item group by order_id
),

placed as (
    select
        dense(o_orderkey) as order_id,
        o_custkey::bigint as customer_id,
        shop_day(o_orderdate) as order_date,
        shop_day(o_orderdate)::timestamp + spread(
            dense(o_orderkey), 10, if(shop_day(o_orderdate) = getvariable('last_day'), 2700, 86400)
        ) as placed_at,
        share(dense(o_orderkey), 11) as luck
    from orders
),

first_version as (
    select
        placed.order_id,
        customer_id,
        order_date,
        total.amount,
        case when luck < 0.80 then 'completed' when luck < 0.87 then 'pending' when luck < 0.95 then 'cancelled'
            else 'returned' end as status,
        least(
            placed_at + spread(placed.order_id, 12, 172800),
            getvariable('last_day')::timestamp + interval 45 minutes + spread(placed.order_id, 13, 600)
        ) as updated_at
    from placed inner join total on placed.order_id = total.order_id
)

select
    *,
    share(order_id, 20) < 0.01 as has_later,
    case status when 'pending' then 'completed' when 'completed' then 'returned' when 'returned' then 'completed'
        else 'pending' end as later_status,
    if(share(order_id, 21) < 0.3, round(amount * 0.9::decimal(2, 1), 2), amount)::decimal(12, 2) as later_amount,
    least(
        updated_at + interval 1 hour + spread(order_id, 22, 432000),
        getvariable('last_day')::timestamp + interval 56 minutes + spread(order_id, 23, 200)
    ) as later_updated_at
from first_version
order by order_id;

-- The tables of the shop, with the dirt that real ones have.
create view shop_orders as
select
    if(share(order_id, 30) < 0.0005, null, order_id) as order_id,
    if(share(order_id, 31) < 0.007, null, customer_id) as customer_id,
    order_date,
    case when share(order_id, 32) < 0.005 then 0 when share(order_id, 32) < 0.010 then -amount else amount
        end::decimal(12, 2) as amount,
    status,
    updated_at
from clean_order
union all
select order_id, customer_id, order_date, later_amount, later_status, later_updated_at
from clean_order
where has_later and share(order_id, 30) >= 0.0005;

create view shop_order_items as
select item.order_id, line_number, product_id, quantity, unit_price, discount, item.amount, clean_order.updated_at
from item inner join clean_order on item.order_id = clean_order.order_id;

create view shop_customers as
with named as (
    select
        c_custkey::bigint as key,
        pick(getvariable('first_names'), c_custkey, 40) as first_name,
        pick(getvariable('last_names'), c_custkey, 41) as last_name,
        pick(getvariable('cities'), c_custkey, 42) as place,
        getvariable('last_day')::timestamp - interval 366 days - spread(c_custkey, 43, 63072000) as created_at
    from customer
)

select
    key,
    -- Every third customer of TPC-H never orders: losing the key of one of these orphans no order.
    if(key % 3 = 0 and share(key, 50) < 0.015, null, key) as customer_id,
    case when share(key, 51) < 0.006 then upper(first_name || ' ' || last_name)
        when share(key, 51) < 0.012 then lower(first_name || ' ' || last_name)
        when share(key, 51) < 0.022 then '  ' || first_name || ' ' || last_name || '   '
        when share(key, 51) < 0.027 then lower(first_name) || '  ' || upper(last_name) || ' '
        else first_name || ' ' || last_name end as name,
    if(
        share(key, 52) < 0.01,
        upper(first_name) || '.' || last_name || key || '@' || upper(pick(getvariable('mail_domains'), key, 44)),
        lower(first_name || '.' || last_name) || key || '@' || pick(getvariable('mail_domains'), key, 44)
    ) as email,
    '+1-' || place.area_code || '-555-' || lpad((100 + roll(key, 45) % 100)::varchar, 4, '0') as phone,
    (1 + roll(key, 46) % 9899)::varchar || ' ' || pick(getvariable('streets'), key, 47) || ' '
        || pick(getvariable('street_kinds'), key, 48) as address,
    place.city as city,
    place.state as state,
    place.zip_prefix || lpad((roll(key, 49) % 100)::varchar, 2, '0') as zip_code,
    created_at,
    created_at + seconds(share(key, 53) * epoch(getvariable('last_day')::timestamp - created_at)) as updated_at
from named;

create view shop_products as
select
    p_partkey::bigint as product_id,
    array_to_string(
        list_transform(
            string_split(p_name, ' ')[1:2] || [lower(string_split(p_type, ' ')[3]), lower(string_split(p_container, ' ')[2])],
            lambda word: upper(word[1]) || word[2:]
        ), ' '
    ) as name,
    p_brand as brand,
    upper(string_split(p_type, ' ')[3][1]) || lower(string_split(p_type, ' ')[3][2:]) || 'ware' as category,
    unit_price(p_partkey, p_retailprice) as price,
    getvariable('last_day')::timestamp - interval 730 days + spread(p_partkey, 60, 31536000) as created_at,
    getvariable('last_day')::timestamp - interval 364 days + spread(p_partkey, 61, 31449600) as updated_at
from part;

-- The payment provider saw what was really paid: one order in ten, with the clean amount.
create view shop_payments as
with latest as (
    select *, if(has_later, later_status, status) as last_status, if(has_later, later_updated_at, updated_at) as last_at
    from clean_order
    where order_id % 10 = 1
)

select
    'pay_' || lpad((1 + order_id // 10)::varchar, 8, '0') as payment_id,
    order_id,
    amount,
    'USD' as currency,
    case when share(order_id, 70) < 0.72 then 'card' when share(order_id, 70) < 0.92 then 'paypal'
        else 'bank_transfer' end as method,
    case when last_status = 'returned' then 'refunded'
        when last_status = 'cancelled' then if(share(order_id, 71) < 0.5, 'failed', 'refunded')
        when share(order_id, 71) < 0.01 then 'failed' else 'captured' end as status,
    date_trunc('second', updated_at) as created_at
from latest;

-- What came back, as the returns partner reports it: one file for each twelfth of the year.
create view shop_returns as
with sent_back as (
    select
        order_id,
        if(has_later, later_amount, amount) as amount,
        if(has_later, later_updated_at, updated_at) + interval 2 days + spread(order_id, 80, 1728000) as returned_at
    from clean_order
    where if(has_later, later_status, status) = 'returned'
)

select
    'RET-' || lpad((row_number() over (order by returned_at, order_id))::varchar, 7, '0') as return_id,
    order_id,
    strftime(returned_at, '%Y-%m-%d %H:%M:%S') as returned_at,
    if(
        share(order_id, 81) < 0.01,
        null,
        pick(['damaged', 'wrong item', 'late delivery', 'not as described', 'no longer needed', 'wrong size'], order_id, 82)
    ) as reason,
    if(share(order_id, 83) < 0.7, amount, round(amount * 0.5::decimal(2, 1), 2))::decimal(12, 2) as refund_amount,
    least(12, 1 + (returned_at::date - (getvariable('last_day') - 364)) * 12 // 365)::integer as batch
from sent_back
where returned_at < getvariable('last_day')::timestamp + interval 1 hour;  -- the rest is still on its way

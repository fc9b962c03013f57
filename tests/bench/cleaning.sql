-- The cleaning of the bench's shop as one script for DuckDB, from the bronze tables' files to silver's tables as Parquet.
-- Run in the shop's folder; inner_pad and outer_pad are set (HMAC's two padded keys).

SET threads = 2;
SET memory_limit = '3GB';
SET temp_directory = 'peer/spill';
SET preserve_insertion_order = false;
SET TimeZone = 'UTC';

-- Pseudonyms: HMAC-SHA256.
CREATE MACRO digest(text) AS
    sha256(getvariable('outer_pad') || unhex(sha256(getvariable('inner_pad') || encode(text))));
CREATE MACRO short(kind, text) AS left(digest(kind || ':' || text), 32);
-- An identifier without control characters and outer space.
CREATE MACRO plain(id) AS nullif(CASE WHEN regexp_full_match(id, '[!-~]+') THEN id
    ELSE trim(regexp_replace(id, '[\p{Cc}\p{Cf}]', '', 'g')) END, '');
CREATE MACRO local_day(ts) AS timezone('Europe/Berlin', timezone('UTC', ts))::DATE;
CREATE MACRO when_rule(ts, given) AS CASE
    WHEN ts IS NULL AND trim(given) <> '' THEN 'wrong_type_event_ts'
    WHEN ts IS NULL THEN 'null_event_ts' END;
CREATE MACRO range_rule(ts, written) AS CASE
    WHEN ts NOT BETWEEN TIMESTAMP '1990-01-01' AND TIMESTAMP '2100-01-01' THEN 'timestamp_out_of_range'
    WHEN ts > timezone('UTC', written) + INTERVAL 1 DAY THEN 'timestamp_in_future' END;

-- Types and rules.
CREATE TEMP TABLE clicks AS
WITH typed AS (
    SELECT
        plain(event_id) AS event_id, plain(user_id) AS member_id, plain(device) AS device_id,
        nullif(trim(event), '') AS given_type,
        CASE trim(event) WHEN 'page_view' THEN 'view' WHEN 'search' THEN 'search' WHEN 'add_to_cart' THEN 'cart_add'
            WHEN 'remove_from_cart' THEN 'cart_remove' WHEN 'begin_checkout' THEN 'checkout'
            WHEN 'heartbeat' THEN 'ignore' END AS event_type,
        try_cast("timestamp" AS TIMESTAMP) AS event_ts, "timestamp" AS given_ts,
        nullif(left(product, 10000), '') AS product_id, nullif(left(channel, 10000), '') AS channel,
        _corrupt_record, _file, _file_ts, _batch
    FROM read_parquet('out/shop/tables/bronze_clicks/*.parquet')
)
SELECT
    event_id, member_id, device_id, event_type, event_ts, local_day(event_ts) AS day, product_id, channel,
    CASE
        WHEN _corrupt_record IS NOT NULL THEN 'corrupt_row'
        WHEN length(event_id) > 512 THEN 'too_long_event_id'
        WHEN length(member_id) > 512 THEN 'too_long_member_id'
        WHEN length(device_id) > 512 THEN 'too_long_device_id'
        WHEN given_type IS NULL THEN 'null_event_type'
        WHEN event_ts IS NULL THEN when_rule(event_ts, given_ts)
        WHEN event_type IS NULL THEN 'unknown_event_type'
        WHEN event_id IS NULL THEN 'null_event_id'
        WHEN coalesce(member_id, device_id) IS NULL THEN 'null_member_id'
        ELSE range_rule(event_ts, _file_ts)
    END AS rule,
    CASE WHEN rule IS NOT NULL THEN hash(event_id, given_ts) END AS row_hash, _file AS file, _batch AS batch
FROM typed
WHERE event_type IS DISTINCT FROM 'ignore';

CREATE TEMP TABLE rates AS
SELECT currency, day::DATE AS day, max(rate::DECIMAL(18, 9)) AS rate
FROM read_parquet('out/shop/tables/bronze_rates/*.parquet') GROUP BY ALL;

CREATE TEMP TABLE lines AS
WITH typed AS (
    SELECT
        plain(line_id) AS event_id, plain(customer) AS member_id, plain(order_no) AS order_id,
        nullif(trim(kind), '') AS given_type,
        CASE trim(kind) WHEN 'SALE' THEN 'order' WHEN 'RETURN' THEN 'refund' END AS event_type,
        timezone('UTC', timezone('Europe/Berlin', try_cast(ordered_at AS TIMESTAMP))) AS event_ts,
        ordered_at AS given_ts, local_day(event_ts) AS day, nullif(left(product, 10000), '') AS product_id,
        CASE WHEN coalesce(units, '') = '' THEN 1 ELSE try_cast(units AS BIGINT) END AS quantity,
        CASE WHEN coalesce(paid, '') = '' THEN 0 ELSE try_cast(paid AS DECIMAL(20, 6)) END AS amount,
        CASE WHEN coalesce(rebate, '') = '' THEN 0 ELSE try_cast(rebate AS DECIMAL(20, 6)) END AS discount,
        upper(trim(coalesce(nullif(currency, ''), 'EUR'))) AS currency,
        _corrupt_record, _file, _file_ts, _batch
    FROM read_parquet('out/shop/tables/bronze_lines/*.parquet')
)
SELECT
    event_id, member_id, order_id, event_type, event_ts, day, product_id, quantity,
    CASE WHEN l.currency = 'EUR' THEN round(amount * 100) ELSE round(amount * rate * 100) END::BIGINT AS amount_cents,
    CASE WHEN l.currency = 'EUR' THEN round(discount * 100) ELSE round(discount * rate * 100) END::BIGINT
        AS discount_cents,
    CASE
        WHEN _corrupt_record IS NOT NULL THEN 'corrupt_row'
        WHEN length(event_id) > 512 THEN 'too_long_event_id'
        WHEN length(member_id) > 512 THEN 'too_long_member_id'
        WHEN given_type IS NULL THEN 'null_event_type'
        WHEN event_ts IS NULL THEN when_rule(event_ts, given_ts)
        WHEN length(order_id) > 512 THEN 'too_long_order_id'
        WHEN quantity IS NULL THEN 'wrong_type_quantity'
        WHEN amount IS NULL THEN 'wrong_type_amount'
        WHEN discount IS NULL THEN 'wrong_type_discount'
        WHEN event_type IS NULL THEN 'unknown_event_type'
        WHEN event_id IS NULL THEN 'null_event_id'
        WHEN member_id IS NULL THEN 'null_member_id'
        WHEN range_rule(event_ts, _file_ts) IS NOT NULL THEN range_rule(event_ts, _file_ts)
        WHEN amount < 0 THEN 'negative_amount'
        WHEN discount < 0 THEN 'negative_discount'
        WHEN quantity < 0 THEN 'negative_quantity'
        WHEN amount > 1e12 THEN 'out_of_range_amount'
        WHEN discount > 1e12 THEN 'out_of_range_discount'
        WHEN quantity > 1e9 THEN 'out_of_range_quantity'
        WHEN l.currency NOT IN ('EUR', 'USD') AND (amount <> 0 OR discount <> 0) THEN 'unknown_currency'
        WHEN l.currency <> 'EUR' AND rate IS NULL AND (amount <> 0 OR discount <> 0) THEN 'missing_rate'
    END AS rule,
    CASE WHEN rule IS NOT NULL THEN hash(event_id, given_ts) END AS row_hash, _file AS file, _batch AS batch
FROM typed l LEFT JOIN rates USING (currency, day);

COPY (
    SELECT 'clicks' AS source, 'events' AS target, rule, row_hash, file, batch FROM clicks WHERE rule IS NOT NULL
    UNION ALL
    SELECT 'lines', 'events', rule, row_hash, file, batch FROM lines WHERE rule IS NOT NULL
) TO 'peer/quarantine/all.parquet' (COMPRESSION snappy);

-- Repeats: of several rows with one id the first by its values stays. Only repeated ids are sorted.
CREATE TEMP TABLE repeated_clicks AS
SELECT event_id FROM clicks WHERE rule IS NULL GROUP BY event_id HAVING count(*) > 1;
CREATE TEMP TABLE repeated_lines AS
SELECT event_id FROM lines WHERE rule IS NULL GROUP BY event_id HAVING count(*) > 1;

CREATE TEMP VIEW settled_clicks AS
SELECT * EXCLUDE (rule, row_hash, file, batch) FROM clicks ANTI JOIN repeated_clicks USING (event_id) WHERE rule IS NULL
UNION ALL
SELECT * EXCLUDE (rule, row_hash, file, batch) FROM clicks SEMI JOIN repeated_clicks USING (event_id) WHERE rule IS NULL
QUALIFY row_number() OVER (PARTITION BY event_id
    ORDER BY event_ts, event_type, product_id NULLS FIRST, channel NULLS FIRST, member_id NULLS FIRST,
        device_id NULLS FIRST) = 1;

-- Refunds, net against their order: what an event changes in max(0, paid - refunded). Only refunded orders are sorted.
CREATE TEMP VIEW settled_lines AS
WITH kept AS (
    SELECT * EXCLUDE (rule, row_hash, file, batch) FROM lines ANTI JOIN repeated_lines USING (event_id) WHERE rule IS NULL
    UNION ALL
    SELECT * EXCLUDE (rule, row_hash, file, batch) FROM lines SEMI JOIN repeated_lines USING (event_id) WHERE rule IS NULL
    QUALIFY row_number() OVER (PARTITION BY event_id
        ORDER BY event_ts, event_type, amount_cents, discount_cents, quantity, product_id NULLS FIRST, member_id,
            order_id NULLS FIRST) = 1
), refunded AS (
    SELECT DISTINCT order_id FROM lines WHERE rule IS NULL AND event_type = 'refund' AND order_id IS NOT NULL
), worth AS (
    SELECT *, greatest(0, sum(CASE WHEN event_type = 'order' THEN amount_cents ELSE -amount_cents END) OVER so_far)
        AS worth_cents
    FROM kept SEMI JOIN refunded USING (order_id)
    WINDOW so_far AS (PARTITION BY order_id ORDER BY event_ts, event_type, event_id ROWS UNBOUNDED PRECEDING)
)
SELECT *, CASE WHEN event_type = 'order' THEN amount_cents ELSE 0 END::BIGINT AS net_cents
FROM kept WHERE order_id IS NULL OR order_id NOT IN (FROM refunded)
UNION ALL
SELECT * EXCLUDE (worth_cents), (worth_cents - lag(worth_cents, 1, 0)
    OVER (PARTITION BY order_id ORDER BY event_ts, event_type, event_id))::BIGINT
FROM worth;

-- Guests take the member their device was linked to at that moment; sessions end after half an hour's silence.
CREATE TEMP TABLE links AS
SELECT plain(device) AS device_id, plain(member) AS linked_member, linked_at::TIMESTAMP AS valid_from
FROM read_parquet('out/shop/tables/bronze_links/*.parquet');

CREATE TEMP VIEW visits AS
WITH named AS (
    SELECT *, false AS stitched FROM settled_clicks WHERE member_id IS NOT NULL
    UNION ALL
    SELECT g.* REPLACE (l.linked_member AS member_id), l.linked_member IS NOT NULL
    FROM settled_clicks g ASOF LEFT JOIN links l ON g.device_id = l.device_id AND g.event_ts >= l.valid_from
    WHERE g.member_id IS NULL
), begun AS (
    SELECT *, CASE WHEN coalesce(epoch(event_ts)::BIGINT - epoch(lag(event_ts) OVER in_order)::BIGINT > 1800, true)
        THEN event_ts END AS began
    FROM named
    WINDOW in_order AS (PARTITION BY coalesce(member_id, device_id), day ORDER BY event_ts, event_id)
)
SELECT * EXCLUDE (began), max(began) OVER (PARTITION BY coalesce(member_id, device_id), day
    ORDER BY event_ts, event_id ROWS UNBOUNDED PRECEDING) AS session_began
FROM begun;

COPY (
    SELECT
        short('event_id', 'clicks:' || event_id) AS event_id, digest(member_id) AS member_id,
        digest(device_id) AS device_id, event_type, event_ts, day, date_trunc('month', day)::DATE AS month,
        NULL::TIMESTAMP AS received_ts, NULL AS order_id, product_id, 1::BIGINT AS quantity, 0::BIGINT AS amount_cents,
        0::BIGINT AS discount_cents, 0::BIGINT AS net_cents, 0::BIGINT AS points, NULL::DOUBLE AS rating,
        NULL AS text, strftime(session_began, 'cut-%Y%m%dT%H%M%S') AS session_id, channel,
        NULL AS detail, stitched, NULL AS flag, 'clicks' AS source
    FROM visits
    UNION ALL
    SELECT
        short('event_id', 'lines:' || event_id), digest(member_id), NULL, event_type, event_ts, day,
        date_trunc('month', day)::DATE, NULL, short('order_id', order_id), product_id, quantity, amount_cents,
        discount_cents, net_cents, 0, NULL, NULL, NULL, NULL, NULL, false, NULL, 'lines'
    FROM settled_lines
) TO 'peer/events' (FORMAT parquet, PARTITION_BY month, COMPRESSION snappy);

COPY (
    SELECT member_id, min(day) AS valid_from FROM read_parquet('peer/events/**/*.parquet')
    WHERE member_id IS NOT NULL GROUP BY ALL
) TO 'peer/members/all.parquet' (COMPRESSION snappy);

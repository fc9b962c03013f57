-- The peer of `sequences.py`: the last events of each member before each as-of date, as padded lists.
-- In: the views events, members, products, dates (as_of_date, end_second) and the variable num_events.
CREATE TEMP TABLE histories AS
WITH told AS (
    SELECT member_id, day, event_ts, event_id, epoch(event_ts)::BIGINT AS second,
        list_position(getvariable('types'), event_type) AS event_type,
        (sign(net_cents) * ln(1 + abs(net_cents)))::FLOAT AS amount_log,
        hour(timezone('Europe/Berlin', event_ts::TIMESTAMPTZ)) + 1 AS hour,
        isodow(timezone('Europe/Berlin', event_ts::TIMESTAMPTZ)) AS weekday,
        coalesce(list_position(getvariable('categories'), category) + 1, 1) AS category,
        coalesce(list_position(getvariable('channels'), channel) + 1, 1) AS channel,
        product_bucket
    FROM events LEFT JOIN products USING (product_id)
    WHERE member_id IS NOT NULL AND flag IS NULL
), gaps AS (
    SELECT *, coalesce(second - lag(second) OVER past, 0) AS gap_seconds
    FROM told WINDOW past AS (PARTITION BY member_id ORDER BY day, event_ts, event_id)
)
SELECT member_id, list({
        'day': day, 'second': second, 'gap_seconds': gap_seconds, 'event_type': event_type, 'amount_log': amount_log,
        'hour': hour, 'weekday': weekday, 'category': category, 'channel': channel, 'product_bucket': product_bucket
    } ORDER BY day DESC, event_ts DESC, event_id DESC) AS history
FROM gaps GROUP BY member_id;

COPY (
    WITH asked AS (
        SELECT member_id, as_of_date, end_second, history,
            len(list_filter(history, lambda e: e.day > as_of_date)) AS num_later
        FROM members CROSS JOIN dates LEFT JOIN histories USING (member_id)
        WHERE known_from <= as_of_date
    ), shown AS (
        SELECT member_id, as_of_date, end_second,
            coalesce(history[num_later + 1 : num_later + getvariable('num_events')], []) AS last
        FROM asked
    )
    SELECT member_id, as_of_date, len(last)::INT AS num_events,
        list_resize([e.event_type::INT for e in last], getvariable('num_events'), 0) AS event_type,
        list_resize([end_second - e.second for e in last], getvariable('num_events'), 0) AS age_seconds,
        list_resize([e.gap_seconds for e in last], getvariable('num_events'), 0) AS gap_seconds,
        list_resize([e.amount_log for e in last], getvariable('num_events'), 0) AS amount_log,
        list_resize([e.hour::INT for e in last], getvariable('num_events'), 0) AS hour,
        list_resize([e.weekday::INT for e in last], getvariable('num_events'), 0) AS weekday,
        list_resize([e.category::INT for e in last], getvariable('num_events'), 0) AS category,
        list_resize([e.channel::INT for e in last], getvariable('num_events'), 0) AS channel,
        list_resize([e.product_bucket::INT for e in last], getvariable('num_events'), 0) AS product_bucket
    FROM shown
) TO 'theirs.parquet' (FORMAT parquet, COMPRESSION snappy);

-- What happened on each day: orders that were placed, completed or cancelled, parcels, and units.
--
-- The day is that of the events' time, UTC. The ordered units are those of new orders and those that were added to an
-- order later; the units of cancelled orders aren't subtracted. Days without an event have no row.
-- Cost: reads the lake from the day before the first one on, because late events are in later days.
--
-- parameter from: date, default today-30. The first day, UTC.
-- parameter to: date, default today. The last day, UTC.
-- chart: units_ordered by day
WITH period AS (
  -- DISTINCT, because the lake may contain an event more than once.
  SELECT DISTINCT
    id,
    substr(time, 1, 10) AS day,
    type,
    CAST(data.units AS decimal(38, 0)) AS units
  FROM events
  -- An event that arrives within minutes of midnight may be in the day before.
  WHERE dt >= date_format(date(? /* from */) - INTERVAL '1' DAY, '%Y-%m-%d')
    AND type <> 'UnreadableRecord'
    AND substr(time, 1, 10) BETWEEN ? /* from */ AND ? /* to */
)
SELECT
  day,
  count(*) FILTER (WHERE type = 'OrderPlaced') AS orders_placed,
  count(*) FILTER (WHERE type = 'OrderCompleted') AS orders_completed,
  count(*) FILTER (WHERE type = 'OrderCancelled') AS orders_cancelled,
  count(*) FILTER (WHERE type = 'ParcelShipped') AS parcels_shipped,
  coalesce(sum(units) FILTER (WHERE type IN ('OrderPlaced', 'LinesAdded')), 0) AS units_ordered,
  coalesce(sum(units) FILTER (WHERE type = 'ParcelShipped'), 0) AS units_shipped
FROM period
GROUP BY day
ORDER BY day

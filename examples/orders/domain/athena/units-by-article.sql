-- The units of each article that were ordered and shipped, most ordered first.
--
-- The ordered units are those of new orders and those that were added to an order later; the units of cancelled orders
-- aren't subtracted. `orders` counts the orders that contain the article. An article that was only shipped in the
-- period has 0 ordered units.
-- Cost: reads the lake from the day before the first one on, because late events are in later days.
--
-- parameter from: date, default today-30. The first day of the events' time, UTC.
-- parameter to: date, default today. The last day of the events' time, UTC.
WITH period AS (
  -- DISTINCT, because the lake may contain an event more than once.
  SELECT DISTINCT
    id,
    subject AS order_id,
    type,
    data.lines AS lines
  FROM events
  -- An event that arrives within minutes of midnight may be in the day before.
  WHERE dt >= date_format(date(? /* from */) - INTERVAL '1' DAY, '%Y-%m-%d')
    AND type IN ('OrderPlaced', 'LinesAdded', 'ParcelShipped')
    AND substr(time, 1, 10) BETWEEN ? /* from */ AND ? /* to */
),
articles AS (
  -- One row for each line of an event.
  SELECT
    period.order_id AS order_id,
    period.type AS type,
    line.article AS article,
    CAST(line.quantity AS decimal(38, 0)) AS units
  FROM period
  CROSS JOIN UNNEST(period.lines) AS line (article, quantity)
)
SELECT
  article,
  count(DISTINCT order_id) FILTER (WHERE type IN ('OrderPlaced', 'LinesAdded')) AS orders,
  coalesce(sum(units) FILTER (WHERE type IN ('OrderPlaced', 'LinesAdded')), 0) AS units_ordered,
  coalesce(sum(units) FILTER (WHERE type = 'ParcelShipped'), 0) AS units_shipped
FROM articles
GROUP BY article
ORDER BY units_ordered DESC, article

-- The events that reached the lake days after they happened.
--
-- `days_late` is the number of days from the event's time to its first day of delivery. An event of the last hour
-- before midnight belongs to the next day here: that it is delivered after midnight doesn't make it late. An event that
-- is delivered again, such as by `millrace republish`, isn't late.
-- Cost: reads every day of the lake, to find the first delivery.
--
-- parameter from: date, default today-30. The first day of delivery, UTC.
-- parameter days: integer, default 1. The minimum number of days.
WITH deliveries AS (
  SELECT
    id,
    subject AS account,
    type,
    time,
    dt,
    date_diff('day', CAST(from_iso8601_timestamp(time) + INTERVAL '1' HOUR AS date), CAST(dt AS date)) AS days_late
  FROM domain_events
)
SELECT
  id,
  account,
  type,
  time,
  dt,
  days_late
FROM deliveries
WHERE dt >= ? /* from */
  AND days_late >= ? /* days */
ORDER BY dt, time, id

-- How long events took to reach the lake, by day of the events' time, in seconds.
--
-- The delay is from the event's time to the time in the name of the first object that contains it. Firehose takes this
-- time when it begins an object, and then collects events for up to some minutes. So an event's line can be read some
-- minutes later than the delay says, and the delay of an event that came to a begun object may be below 0.
-- The median and the 95th percentile are delays that occurred: the least one that at least 50 % (95 %) of the events
-- don't exceed. Objects whose names have no time aren't counted.
-- Cost: reads the lake from the day before the first one on, because late events are in later days.
--
-- parameter from: date, default today-30. The first day of the events' time, UTC.
-- parameter to: date, default today. The last day of the events' time, UTC.
-- chart: p95_seconds by day
WITH copies AS (
  SELECT
    id,
    time,
    -- The object's name is <delivery stream>-<version>-YYYY-MM-DD-HH-MM-SS-<random>, in UTC:
    -- https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html
    regexp_extract("$path", '-(\d{4}-\d{2}-\d{2}-\d{2}-\d{2}-\d{2})-[^/]*$', 1) AS object_time
  FROM events
  -- An event that arrives within minutes of midnight may be in the day before.
  WHERE dt >= date_format(date(? /* from */) - INTERVAL '1' DAY, '%Y-%m-%d')
    AND type <> 'UnreadableRecord'
    AND substr(time, 1, 10) BETWEEN ? /* from */ AND ? /* to */
),
arrivals AS (
  SELECT
    id,
    time,
    min(object_time) AS object_time
  FROM copies
  WHERE object_time <> ''
  GROUP BY id, time
),
delays AS (
  SELECT
    substr(time, 1, 10) AS day,
    -- Without the milliseconds, which the object's name doesn't have.
    CAST(
      to_unixtime(date_parse(object_time, '%Y-%m-%d-%H-%i-%s'))
      - to_unixtime(date_parse(substr(time, 1, 19), '%Y-%m-%dT%H:%i:%s'))
      AS bigint
    ) AS seconds
  FROM arrivals
),
ranked AS (
  SELECT
    day,
    seconds,
    row_number() OVER (PARTITION BY day ORDER BY seconds) AS place,
    count(*) OVER (PARTITION BY day) AS places
  FROM delays
)
SELECT
  day,
  count(*) AS events,
  min(seconds) AS min_seconds,
  min(seconds) FILTER (WHERE place * 100 >= places * 50) AS median_seconds,
  min(seconds) FILTER (WHERE place * 100 >= places * 95) AS p95_seconds,
  max(seconds) AS max_seconds
FROM ranked
GROUP BY day
ORDER BY day

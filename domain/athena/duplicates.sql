-- The events that the lake contains more than once.
--
-- Duplicates are normal: the pipeline delivers each event at least once, and `millrace republish` delivers it again.
-- The view `domain_events` contains each event once. `copies` counts the lines, `first_dt` and `last_dt` are the first
-- and last day of delivery.
-- Cost: reads the lake from the first day on.
--
-- parameter from: date, default today-30. The first day of delivery, UTC. Copies of earlier days aren't counted.
SELECT
  id,
  subject AS account,
  type,
  count(*) AS copies,
  min(dt) AS first_dt,
  max(dt) AS last_dt
FROM events
WHERE dt >= ? /* from */
  AND type <> 'UnreadableRecord'
GROUP BY id, subject, type
HAVING count(*) > 1
ORDER BY id

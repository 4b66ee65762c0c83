-- The sequences that the lake lacks: each gap in an order's history.
--
-- An order's events have the sequences 1, 2, 3, and so on. An event that was published minutes ago may not have
-- reached the lake yet. Events that are missing at the end of a history aren't found: `orders verify` compares the
-- lake with the events table.
-- Cost: reads every day of the lake.
WITH numbered AS (
  SELECT
    subject AS order_id,
    data.sequence AS sequence,
    -- 0 before the first one, so that a missing beginning is a gap too.
    lag(data.sequence, 1, 0) OVER (PARTITION BY subject ORDER BY data.sequence) AS previous
  FROM domain_events
)
SELECT
  order_id,
  previous + 1 AS first_missing,
  sequence - 1 AS last_missing,
  sequence - previous - 1 AS missing
FROM numbered
WHERE sequence > previous + 1
ORDER BY order_id, first_missing

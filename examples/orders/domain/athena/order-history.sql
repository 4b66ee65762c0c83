-- An order's history: each event with its articles, oldest first.
--
-- `articles` are the lines of the event, such as `A-1 x 3, B-7 x 2`, and `units` is the sum of their quantities.
-- Cost: reads every day of the lake.
--
-- parameter order: text. The order's id.
SELECT
  data.sequence AS sequence,
  time,
  type,
  array_join(transform(data.lines, line -> line.sku || ' x ' || CAST(line.quantity AS varchar)), ', ') AS articles,
  data.units AS units,
  data.reason AS reason
FROM domain_events
WHERE subject = ? /* order */
ORDER BY sequence

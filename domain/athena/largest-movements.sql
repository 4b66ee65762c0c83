-- The largest credits and withdrawals of each currency.
--
-- Amounts of different currencies can't be compared, so each currency has its own places. Of equal amounts, the
-- earlier one is first.
-- Cost: reads the lake from the day before the first one on, because late events are in later days.
--
-- parameter from: date, default today-30. The first day of the events' time, UTC.
-- parameter to: date, default today. The last day of the events' time, UTC.
-- parameter number: integer, default 20. The maximum number of movements of each currency.
-- amounts: amount in currency
WITH movements AS (
  -- DISTINCT, because the lake may contain an event more than once.
  SELECT DISTINCT
    id,
    subject AS account,
    time,
    type,
    data.channel AS channel,
    data.amount AS amount,
    data.currency AS currency
  FROM events
  -- An event that arrives within minutes of midnight may be in the day before.
  WHERE dt >= date_format(date(? /* from */) - INTERVAL '1' DAY, '%Y-%m-%d')
    AND type IN ('BalanceCredited', 'BalanceWithdrawn')
    AND substr(time, 1, 10) BETWEEN ? /* from */ AND ? /* to */
),
ranked AS (
  SELECT
    row_number() OVER (PARTITION BY currency ORDER BY amount DESC, time, id) AS place,
    id,
    account,
    time,
    type,
    channel,
    amount,
    currency
  FROM movements
)
SELECT
  currency,
  place,
  amount,
  type,
  channel,
  time,
  account,
  id
FROM ranked
WHERE place <= ? /* number */
ORDER BY currency, place

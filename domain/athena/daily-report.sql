-- What happened on each day: counts and totals by day and currency.
--
-- The day is that of the events' time, UTC. `net` is what was credited less what was withdrawn. Days without an event
-- have no row.
-- Cost: reads the lake from the day before the first one on, because late events are in later days.
--
-- parameter from: date, default today-30. The first day, UTC.
-- parameter to: date, default today. The last day, UTC.
-- amounts: credited, withdrawn, net in currency
-- chart: credited by day per currency
WITH period AS (
  -- DISTINCT, because the lake may contain an event more than once.
  SELECT DISTINCT
    id,
    substr(time, 1, 10) AS day,
    type,
    CAST(data.amount AS decimal(38, 0)) AS amount,
    data.currency AS currency
  FROM events
  -- An event that arrives within minutes of midnight may be in the day before.
  WHERE dt >= date_format(date(? /* from */) - INTERVAL '1' DAY, '%Y-%m-%d')
    AND type <> 'UnreadableRecord'
    AND substr(time, 1, 10) BETWEEN ? /* from */ AND ? /* to */
),
totals AS (
  SELECT
    day,
    currency,
    count(*) FILTER (WHERE type = 'AccountCreated') AS accounts_created,
    count(*) FILTER (WHERE type = 'BalanceCredited') AS credits,
    coalesce(sum(amount) FILTER (WHERE type = 'BalanceCredited'), 0) AS credited,
    count(*) FILTER (WHERE type = 'BalanceWithdrawn') AS withdrawals,
    coalesce(sum(amount) FILTER (WHERE type = 'BalanceWithdrawn'), 0) AS withdrawn
  FROM period
  GROUP BY day, currency
)
SELECT
  day,
  currency,
  accounts_created,
  credits,
  credited,
  withdrawals,
  withdrawn,
  CAST(credited - withdrawn AS decimal(38, 0)) AS net
FROM totals
ORDER BY day, currency

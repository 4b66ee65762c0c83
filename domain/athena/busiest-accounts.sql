-- The accounts with the most events.
--
-- Of accounts with equally many events, the one whose id is smaller is first.
-- Cost: reads the lake from the day before the first one on, because late events are in later days.
--
-- parameter from: date, default today-30. The first day of the events' time, UTC.
-- parameter to: date, default today. The last day of the events' time, UTC.
-- parameter number: integer, default 20. The maximum number of accounts.
-- chart: events by account
WITH period AS (
  -- DISTINCT, because the lake may contain an event more than once.
  SELECT DISTINCT
    id,
    subject AS account,
    type
  FROM events
  -- An event that arrives within minutes of midnight may be in the day before.
  WHERE dt >= date_format(date(? /* from */) - INTERVAL '1' DAY, '%Y-%m-%d')
    AND type <> 'UnreadableRecord'
    AND substr(time, 1, 10) BETWEEN ? /* from */ AND ? /* to */
),
counted AS (
  SELECT
    account,
    count(*) AS event_count,
    count(*) FILTER (WHERE type = 'BalanceCredited') AS credits,
    count(*) FILTER (WHERE type = 'BalanceWithdrawn') AS withdrawals
  FROM period
  GROUP BY account
),
ranked AS (
  SELECT
    row_number() OVER (ORDER BY event_count DESC, account) AS place,
    account,
    event_count,
    credits,
    withdrawals
  FROM counted
)
SELECT
  place,
  account,
  event_count AS events,
  credits,
  withdrawals
FROM ranked
WHERE place <= ? /* number */
ORDER BY place

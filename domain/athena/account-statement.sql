-- An account's statement: each event with the balance after it, oldest first.
--
-- A withdrawn amount is negative. A withdrawal has a channel since version 2 of its event.
-- The balance counts all events of the account, also those before the first day. If the lake lacks some of them
-- (see missing-sequences), the balances after the gap are wrong.
-- Cost: reads every day of the lake.
--
-- parameter account: text. The account's id.
-- parameter from: date, default today-30. The first day, UTC.
-- parameter to: date, default today. The last day, UTC.
-- amounts: amount, balance in currency
WITH history AS (
  SELECT
    data.sequence AS sequence,
    time,
    type,
    data.channel AS channel,
    CASE type
      WHEN 'BalanceCredited' THEN data.amount
      WHEN 'BalanceWithdrawn' THEN -data.amount
      ELSE 0
    END AS amount,
    data.currency AS currency
  FROM domain_events
  WHERE subject = ? /* account */
),
statement AS (
  SELECT
    sequence,
    time,
    type,
    channel,
    amount,
    -- The sum from the account's first event up to this one.
    sum(CAST(amount AS decimal(38, 0))) OVER (ORDER BY sequence) AS balance,
    currency
  FROM history
)
SELECT
  sequence,
  time,
  type,
  channel,
  amount,
  balance,
  currency
FROM statement
WHERE substr(time, 1, 10) BETWEEN ? /* from */ AND ? /* to */
ORDER BY sequence

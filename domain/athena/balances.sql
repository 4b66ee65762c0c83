-- The balances of all accounts at a time.
--
-- An account is listed from its first event on, also if its balance is 0. If the lake lacks events of an account
-- (see missing-sequences), its balance is wrong.
-- Cost: reads every day of the lake.
--
-- parameter at: time, default now. Events up to and including this time are counted.
-- amounts: balance in currency
WITH movements AS (
  SELECT
    subject AS account,
    data.sequence AS sequence,
    time,
    CASE type
      WHEN 'BalanceCredited' THEN data.amount
      WHEN 'BalanceWithdrawn' THEN -data.amount
      ELSE 0
    END AS amount,
    data.currency AS currency
  FROM domain_events
  WHERE time <= ? /* at */
)
SELECT
  account,
  sum(CAST(amount AS decimal(38, 0))) AS balance,
  currency,
  max(sequence) AS last_sequence,
  max(time) AS last_time
FROM movements
GROUP BY account, currency
ORDER BY account, currency

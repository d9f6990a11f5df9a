-- Waits for the transaction that holds the head row to end, and holds the row until this one ends.
-- $1: for how many milliseconds this one may idle or run a statement from here on.
SELECT set_config('idle_in_transaction_session_timeout', $1, true), set_config('statement_timeout', $1, true)
  FROM head
   FOR NO KEY UPDATE

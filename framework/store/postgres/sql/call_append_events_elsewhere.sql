-- Runs append_events_elsewhere in a caller's transaction; $1 … $23 are its arguments, in its order.
-- The connection may have codecs of its own, so what they could touch travels as text.
--
-- The head row is held until the transaction ends. $24: for how many milliseconds the transaction may idle, run a statement
-- and, where PostgreSQL can say so, last at all from here on, unless its session has limits of its own. $25: a channel, which
-- hears of it after COMMIT and only then.
SELECT a.base, to_jsonb(a.recorded) #>> '{}', a.starts, a.outcomes::text, a.reached,
       pg_notify($25, a.reached::text),
       CASE WHEN current_setting('idle_in_transaction_session_timeout') = '0'
            THEN set_config('idle_in_transaction_session_timeout', $24, true) END,
       CASE WHEN current_setting('statement_timeout') = '0'
            THEN set_config('statement_timeout', $24, true) END,
       CASE WHEN current_setting('transaction_timeout', true) = '0'
            THEN set_config('transaction_timeout', $24, true) END
  FROM :schema.append_events_elsewhere(
           $1::text::uuid, $2, $3, $4, $5, $6, $7, $8, $9, $10::text[]::uuid[], $11, $12,
           $13::text[]::jsonb[], $14::text[]::jsonb[], $15::text[]::uuid[], $16::text[]::uuid[],
           $17, $18::text[]::uuid[], $19::text[]::bytea[], $20, $21, $22, $23::text[]::jsonb[]
       ) AS a

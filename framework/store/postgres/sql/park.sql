-- $1: a process; $2: a command id; $3: the reason; $4, $5: a slot of it and its fence, NULL for all. No row: the slot has
-- another fence, and nothing was changed.
WITH held AS MATERIALIZED (
    SELECT slot FROM slots WHERE name = $1 AND slot = $4 AND fence = $5 FOR UPDATE
), may AS (
    SELECT WHERE $4::integer IS NULL OR EXISTS (SELECT FROM held)
), parked AS (
    UPDATE outbox SET parked = $3 WHERE process = $1 AND command_id = $2 AND EXISTS (SELECT FROM may)
)
SELECT FROM may

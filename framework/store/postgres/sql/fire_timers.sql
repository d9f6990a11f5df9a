-- $1: a process; $2: a moment; $3: how many at most; $4, $5, $6: how many slots it has, one of them, and its fence, NULL for
-- all. Puts what is due by then into the outbox, earliest first. No row: the slot has another fence, and nothing was changed.
-- By where the rows lie: joined by their names they would be looked for among all that is not due.
  WITH held AS MATERIALIZED (
       SELECT slot FROM slots WHERE name = $1 AND slot = $5 AND fence = $6 FOR UPDATE
  ), may AS (
       SELECT WHERE $5::integer IS NULL OR EXISTS (SELECT FROM held)
  ), due AS (
       DELETE FROM timers
        WHERE ctid = ANY (ARRAY(
              SELECT t.ctid
                FROM timers AS t
               WHERE t.process = $1
                 AND EXISTS (SELECT FROM may)
                 AND ($5::integer IS NULL OR t.hash % $4::integer = $5)
                 AND t.due_at <= $2
               ORDER BY t.due_at
               LIMIT $3
                 FOR UPDATE SKIP LOCKED
          ))
    RETURNING instance, key, due_at, command_id, command_type, command, correlation_id, causation_id, hash
  ), sent AS (
INSERT INTO outbox
       (process, instance, piece, command_id, command_type, command, correlation_id, causation_id, timer, hash)
SELECT $1, d.instance, 0, d.command_id, d.command_type, d.command, d.correlation_id, d.causation_id, d.key, d.hash
  FROM due AS d
 ORDER BY d.due_at, d.instance, d.key
  )
SELECT FROM may

-- $1: a process; $2: a moment; $3: how many at most. Puts what is due by then into the outbox, earliest first.
-- By where the rows lie: joined by their names they would be looked for among all that is not due.
  WITH due AS (
       DELETE FROM timers
        WHERE ctid = ANY (ARRAY(
              SELECT t.ctid
                FROM timers AS t
               WHERE t.process = $1
                 AND t.due_at <= $2
               ORDER BY t.due_at
               LIMIT $3
                 FOR UPDATE SKIP LOCKED
          ))
    RETURNING instance, key, due_at, command_id, command_type, command, correlation_id, causation_id
  )
INSERT INTO outbox (process, instance, piece, command_id, command_type, command, correlation_id, causation_id, timer)
SELECT $1, d.instance, 0, d.command_id, d.command_type, d.command, d.correlation_id, d.causation_id, d.key
  FROM due AS d
 ORDER BY d.due_at, d.instance, d.key

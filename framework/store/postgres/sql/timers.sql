-- $1: a process; $2: instances, NULL for all. What is scheduled and not due yet, earliest first, as the outbox has it then.
SELECT t.due_at, t.process, t.instance, 0, 0, t.command_id, t.command_type, t.command, t.correlation_id, t.causation_id,
       NULL, t.key
  FROM timers AS t
 WHERE t.process = $1
   AND ($2::text[] IS NULL OR t.instance = ANY ($2))
 ORDER BY t.due_at, t.instance, t.key

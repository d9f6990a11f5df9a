-- $1: a process; $2: an instance. Its commands that have no answer: when they are due, NULL where they are, and the command
-- as the outbox has it.
SELECT t.due_at, t.process, t.instance, 0 AS number, 0 AS piece, t.command_id, t.command_type, t.command, t.correlation_id,
       t.causation_id, NULL AS parked, t.key AS timer
  FROM timers AS t
 WHERE t.process = $1
   AND t.instance = $2
 UNION ALL
SELECT NULL, o.process, o.instance, o.number, o.piece, o.command_id, o.command_type, o.command, o.correlation_id,
       o.causation_id, o.parked, o.timer
  FROM outbox AS o
 WHERE o.process = $1
   AND o.instance = $2

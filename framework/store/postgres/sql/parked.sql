-- $1: a process. Its parked commands, oldest first.
SELECT o.process, o.instance, o.number, o.piece, o.command_id, o.command_type, o.command, o.correlation_id,
       o.causation_id, o.parked, o.timer
  FROM outbox AS o
 WHERE o.process = $1
   AND o.parked IS NOT NULL
 ORDER BY o.number, o.piece

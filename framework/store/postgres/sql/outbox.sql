-- $1: a process; $2: how many at most; $3, $4: how many slots it has, and one of them, NULL for all; $5: instances to leave
-- out. Commands to send, oldest first, without those that stand behind a parked one.
SELECT o.process, o.instance, o.number, o.piece, o.command_id, o.command_type, o.command, o.correlation_id,
       o.causation_id, o.parked, o.timer
  FROM outbox AS o
 WHERE o.process = $1
   AND ($4::integer IS NULL OR o.hash % $3::integer = $4)
   AND o.instance <> ALL ($5::text[])
   AND o.parked IS NULL
   AND NOT EXISTS (
       SELECT
         FROM outbox AS p
        WHERE p.process = o.process
          AND p.instance = o.instance
          AND p.parked IS NOT NULL
          AND (p.number, p.piece) < (o.number, o.piece)
   )
 ORDER BY o.number, o.piece
 LIMIT $2

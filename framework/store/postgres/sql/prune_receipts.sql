-- $1: a moment; $2: how many at most. Forgets the oldest receipts written before it, and returns their command ids. Those
-- of commands that a process has yet to send stay.
DELETE FROM receipts
 WHERE command_id IN (
     SELECT r.command_id
       FROM receipts AS r
      WHERE r.recorded_at < $1
        AND r.command_id NOT IN (SELECT o.command_id FROM outbox AS o)
      ORDER BY r.recorded_at
      LIMIT $2
 )
RETURNING command_id

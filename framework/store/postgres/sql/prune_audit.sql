-- $1: a moment; $2: how many at most. Forgets the oldest entries of commands asked for before it, and returns their numbers.
DELETE FROM command_audit
 WHERE number IN (
     SELECT a.number
       FROM command_audit AS a
      WHERE a.asked_at < $1
      ORDER BY a.asked_at
      LIMIT $2
 )
RETURNING number

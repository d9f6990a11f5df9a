-- $1: a process; $2, $3: instances and keys; a key that is NULL stands for all. Forgets commands that were scheduled under
-- them, are due, and wait to be sent; parked ones stay. A row for each.
DELETE FROM outbox AS o
 USING unnest($2::text[], $3::text[]) AS w (instance, key)
 WHERE o.process = $1
   AND o.instance = w.instance
   AND o.timer IS NOT NULL
   AND (w.key IS NULL OR o.timer = w.key)
   AND o.parked IS NULL
RETURNING o.instance

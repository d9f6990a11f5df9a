-- $1: a process; $2, $3: instances and keys; a key that is NULL stands for all. Forgets what is scheduled under them; a row
-- for each.
DELETE FROM timers AS t
 USING unnest($2::text[], $3::text[]) AS w (instance, key)
 WHERE t.process = $1
   AND t.instance = w.instance
   AND (w.key IS NULL OR t.key = w.key)
RETURNING t.instance

-- $1: a process; $2 … $8: for each command its instance, id, type, content, correlation, causation, and the hash of the
-- instance; $9, $10: the key it is scheduled under, and when it is due.
INSERT INTO timers
       (process, instance, command_id, command_type, command, correlation_id, causation_id, hash, key, due_at)
SELECT $1, t.*
  FROM unnest(
       $2::text[], $3::uuid[], $4::text[], $5::jsonb[], $6::uuid[], $7::uuid[], $8::bigint[], $9::text[],
       $10::timestamptz[]
       ) AS t

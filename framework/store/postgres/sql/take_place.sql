-- $1: a process; $2: a number; $3: a piece; $4 … $10: for each command its instance, id, type, content, correlation,
-- causation, and the hash of the instance. Puts them behind that piece of that number, in order.
INSERT INTO outbox
       (process, instance, number, piece, command_id, command_type, command, correlation_id, causation_id, hash)
SELECT $1, c.instance, $2, $3 + c.turn, c.command_id, c.command_type, c.command, c.correlation_id, c.causation_id, c.hash
  FROM unnest($4::text[], $5::uuid[], $6::text[], $7::jsonb[], $8::uuid[], $9::uuid[], $10::bigint[])
       WITH ORDINALITY
       AS c (instance, command_id, command_type, command, correlation_id, causation_id, hash, turn)

-- $1: a process; $2 … $8: for each command its instance, id, type, content, correlation, causation, and the hash of the
-- instance, in sending order.
INSERT INTO outbox (process, instance, piece, command_id, command_type, command, correlation_id, causation_id, hash)
SELECT $1, c.instance, 0, c.command_id, c.command_type, c.command, c.correlation_id, c.causation_id, c.hash
  FROM unnest($2::text[], $3::uuid[], $4::text[], $5::jsonb[], $6::uuid[], $7::uuid[], $8::bigint[])
       WITH ORDINALITY
       AS c (instance, command_id, command_type, command, correlation_id, causation_id, hash, turn)
 ORDER BY c.turn

-- $1: a process; $2 … $7: for each command its instance, id, type, content, correlation and causation, in sending order.
INSERT INTO outbox (process, instance, piece, command_id, command_type, command, correlation_id, causation_id)
SELECT $1, c.instance, 0, c.command_id, c.command_type, c.command, c.correlation_id, c.causation_id
  FROM unnest($2::text[], $3::uuid[], $4::text[], $5::jsonb[], $6::uuid[], $7::uuid[])
       WITH ORDINALITY
       AS c (instance, command_id, command_type, command, correlation_id, causation_id, turn)
 ORDER BY c.turn

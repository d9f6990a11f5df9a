-- $1: a number; $2: how many; $3: an id. Returns the entries behind that number of the command with that id, and of those
-- with that correlation, in order.
SELECT number, asked_at, command_id, correlation_id, causation_id, command_type, data, metadata, answered_at, outcome, stream,
       version, error, reason
  FROM command_audit
 WHERE number > $1
   AND (command_id = $3 OR correlation_id = $3)
 ORDER BY number
 LIMIT $2

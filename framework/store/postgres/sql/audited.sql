-- $1: a number; $2: how many. Returns the entries behind that number, in order.
SELECT number, asked_at, command_id, correlation_id, causation_id, command_type, data, metadata, answered_at, outcome, stream,
       version, error, reason
  FROM command_audit
 WHERE number > $1
 ORDER BY number
 LIMIT $2

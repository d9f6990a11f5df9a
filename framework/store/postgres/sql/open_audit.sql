-- $1 … $6: what is written down of a command. Returns the number of its entry.
INSERT INTO command_audit (command_id, correlation_id, causation_id, command_type, data, metadata)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING number

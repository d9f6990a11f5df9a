-- $1: command ids. Returns the receipts there are for them.
SELECT command_id, digest, stream, first_version, event_count, refusal
  FROM receipts
 WHERE command_id = ANY ($1)

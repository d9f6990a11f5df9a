-- $1: the number of an entry; $2 … $6: what became of its command. No row: it was forgotten.
   UPDATE command_audit
      SET answered_at = clock_timestamp(), outcome = $2, stream = $3, version = $4, error = $5, reason = $6
    WHERE number = $1
RETURNING number

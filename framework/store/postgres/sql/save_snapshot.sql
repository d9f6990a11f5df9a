-- $1 … $6: a snapshot's columns. No row: its stream is deleted, or has not come so far, and nothing was changed.
INSERT INTO snapshots (stream, version, state_type, state_version, state, taken_at)
SELECT $1, $2, $3, $4, $5, $6
 WHERE current_version($1) >= $2
   AND NOT EXISTS (SELECT FROM streams AS d WHERE d.stream = $1)
    ON CONFLICT ON CONSTRAINT snapshots_pkey DO UPDATE SET state = excluded.state, taken_at = excluded.taken_at
RETURNING version

-- $1, $2, $3: name, number and fence of a slot; $4: its new position; $5 … $8: for each event its position, its key, its
-- error and how often it was tried. No row: the slot has another fence, or is not there, and nothing was changed.
WITH moved AS (
    UPDATE slots SET position = $4 WHERE name = $1 AND slot = $2 AND fence = $3 RETURNING slot
), parked AS (
    INSERT INTO parked AS p (name, position, key, error, attempts, parked_at)
    SELECT $1, e.position, e.key, e.error, e.attempts, clock_timestamp()
      FROM unnest($5::bigint[], $6::text[], $7::text[], $8::integer[]) AS e (position, key, error, attempts)
     WHERE EXISTS (SELECT FROM moved)
        ON CONFLICT ON CONSTRAINT parked_pkey
        DO UPDATE SET error = excluded.error, attempts = p.attempts + excluded.attempts, asked = NULL
)
SELECT slot FROM moved

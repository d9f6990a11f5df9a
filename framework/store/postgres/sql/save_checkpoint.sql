-- $1: a name; $2: its new position; $3: the position it must stand at, where 0 may also mean that it has no row.
-- No row: it stands elsewhere, and nothing was changed.
INSERT INTO checkpoints AS c (name, position)
SELECT $1, $2 WHERE $3 = 0 OR EXISTS (SELECT FROM checkpoints WHERE name = $1)
    ON CONFLICT ON CONSTRAINT checkpoints_pkey DO UPDATE SET position = excluded.position WHERE c.position = $3
RETURNING name

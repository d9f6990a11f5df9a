-- $1: a subscription; $2: its definition, as it is recorded; $3: another; $4: a position, or NULL. Records that one and
-- takes the slots from their owners; with a position, moves them there and forgets what is parked.
-- Returns its slots. No row: it is defined otherwise by now, or is not there.
WITH changed AS (
    UPDATE subscriptions SET definition = $3 WHERE name = $1 AND definition = $2 RETURNING name
), gone AS (
    DELETE FROM parked AS p USING changed AS c WHERE p.name = c.name AND $4::bigint IS NOT NULL
), told AS (
    INSERT INTO framework_nodes.changes AS c (schema, number) VALUES (current_schema(), 1)
        ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1
)
UPDATE slots AS s SET position = coalesce($4, s.position), fence = s.fence + 1, owner = NULL
  FROM changed AS c
 WHERE s.name = c.name
RETURNING s.slot

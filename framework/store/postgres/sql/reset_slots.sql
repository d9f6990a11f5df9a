-- $1: a subscription; $2: a position. Moves its slots there, takes them from their owners, and forgets what is parked.
-- Returns its slots.
WITH gone AS (
    DELETE FROM parked WHERE name = $1
), told AS (
    INSERT INTO framework_nodes.changes AS c (schema, number) VALUES (current_schema(), 1)
        ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1
)
UPDATE slots
   SET position = $2, fence = fence + 1, owner = NULL, replayed_to = greatest(replayed_to, position)
 WHERE name = $1
RETURNING slot

-- $1: a subscription; $2: the position from which on its slots are to stand still, NULL for none. Returns its slots.
WITH told AS (
    INSERT INTO framework_nodes.changes AS c (schema, number) VALUES (current_schema(), 1)
        ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1
)
UPDATE slots SET held_at = $2 WHERE name = $1 RETURNING slot

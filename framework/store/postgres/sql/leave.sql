-- $1: a member. Gives back its slots and forgets it.
WITH released AS (
    UPDATE slots SET owner = NULL WHERE owner = $1
), gone AS (
    DELETE FROM members WHERE member = $1
)
INSERT INTO framework_nodes.changes AS c (schema, number) VALUES (current_schema(), 1)
    ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1

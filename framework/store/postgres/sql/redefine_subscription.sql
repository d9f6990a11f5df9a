-- $1: a subscription; $2: its definition, as it is recorded; $3: another; $4: whether that wants another number of slots;
-- $5: whether the owners lose them; $6: a position that it is to begin anew behind, with nothing parked, or NULL.
-- No row: it is defined otherwise by now, or is not there.
WITH changed AS (
    UPDATE subscriptions
       SET definition = $3, is_held = is_held OR $4, level_at = NULL, cut_fence = NULL
     WHERE name = $1
       AND definition = $2
    RETURNING name
), gone AS (
    DELETE FROM parked AS p USING changed AS c WHERE p.name = c.name AND $6::bigint IS NOT NULL
), moved AS (
    UPDATE slots AS s
       SET position    = coalesce($6, s.position),
           fence       = s.fence + 1,
           owner       = NULL,
           replayed_to = CASE WHEN $6 IS NULL THEN s.replayed_to ELSE greatest(s.replayed_to, s.position) END
      FROM changed AS c
     WHERE s.name = c.name
       AND $5
), told AS (
    INSERT INTO framework_nodes.changes AS c (schema, number) SELECT current_schema(), 1 FROM changed
        ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1
)
SELECT name FROM changed

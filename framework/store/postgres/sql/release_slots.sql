-- $1, $2, $3: names, numbers and fences of slots. Gives back those whose fence is still that one.
WITH released AS (
    UPDATE slots AS s
       SET owner = NULL
      FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS t (name, slot, fence)
     WHERE s.name = t.name
       AND s.slot = t.slot
       AND s.fence = t.fence
)
INSERT INTO framework_nodes.changes AS c (schema, number) VALUES (current_schema(), 1)
    ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1

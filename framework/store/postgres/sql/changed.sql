-- $1: schemas. Says that their slots are to be shared out anew.
INSERT INTO framework_nodes.changes AS c (schema, number)
SELECT schema, 1 FROM unnest($1::text[]) AS schema ORDER BY schema  -- two who change the same ones wait in one order
    ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1

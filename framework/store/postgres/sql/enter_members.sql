-- $1: a node; $2, $3, $4: for each subscription that a member can run, the number of its schema, the member, the name.
-- One of several parts, each for a schema.
INSERT INTO {schema}.members (member, name, node)
SELECT e.member, e.name, $1
  FROM unnest($2::integer[], $3::uuid[], $4::text[]) AS e (number, member, name)
 WHERE e.number = {number}
    ON CONFLICT ON CONSTRAINT members_pkey DO NOTHING

-- One of several parts, each for a schema. Forgets the members whose node is no more: none comes back under its name.
DELETE FROM {schema}.members AS m
 WHERE NOT EXISTS (SELECT FROM framework_nodes.heartbeats AS h WHERE h.node = m.node)

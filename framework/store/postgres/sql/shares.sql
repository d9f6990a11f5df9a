-- One of several parts, each for a schema. Returns its slots, and with each the members that live and can run it.
SELECT {number} AS number, s.name, s.slot, s.fence, s.owner, coalesce(s.position >= s.held_at, false) AS is_held,
       ARRAY(
           SELECT m.member
             FROM {schema}.members AS m
             JOIN framework_nodes.heartbeats AS h ON h.node = m.node
            WHERE m.name = s.name
       ) AS members
  FROM {schema}.slots AS s

-- One of several parts, each for a schema. Returns its slots, and with each the members that live and can run it.
SELECT {number} AS number, s.name, s.slot, s.fence, s.owner,
       u.is_paused OR (u.is_held AND s.position >= coalesce(u.level_at, 0)) AS is_held, u.is_held AS is_to_cut,
       ARRAY(
           SELECT m.member
             FROM {schema}.members AS m
             JOIN framework_nodes.heartbeats AS h ON h.node = m.node
            WHERE m.name = s.name
       ) AS members
  FROM {schema}.slots AS s
  JOIN {schema}.subscriptions AS u ON u.name = s.name

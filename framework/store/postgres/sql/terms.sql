-- $1, $2, $3: name, number and fence of a slot. Returns by what it is run. No row: it has another fence, or is not there.
--
-- Behind whoever has the row: a transaction whose connection was lost while it committed may yet move the slot.
SELECT u.definition, s.position, s.replayed_to,
       (SELECT count(*) FROM slots AS each WHERE each.name = s.name) AS partitions,
       CASE WHEN u.is_paused THEN 0 WHEN u.is_held THEN coalesce(u.level_at, 0) END AS until
  FROM slots AS s
  JOIN subscriptions AS u ON u.name = s.name
 WHERE s.name = $1
   AND s.slot = $2
   AND s.fence = $3
   FOR UPDATE OF s

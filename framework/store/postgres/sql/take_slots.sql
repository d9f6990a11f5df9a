-- $1: a node; $2, $3, $4: names, numbers and fences of slots. Takes those whose fence is still that one; returns them.
UPDATE slots AS s
   SET owner = $1, fence = s.fence + 1
  FROM unnest($2::text[], $3::integer[], $4::bigint[]) AS t (name, slot, fence)
 WHERE s.name = t.name
   AND s.slot = t.slot
   AND s.fence = t.fence
RETURNING s.name, s.slot, s.fence

-- $1, $2, $3: names, numbers and fences of slots. Gives back those whose fence is still that one.
UPDATE slots AS s
   SET owner = NULL
  FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS t (name, slot, fence)
 WHERE s.name = t.name
   AND s.slot = t.slot
   AND s.fence = t.fence

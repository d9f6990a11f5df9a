-- $1 … $5: for each slot the number of its schema, who takes it, its name, its number, and its fence. Takes those whose
-- fence is still that one; returns them. One of several parts, each for a schema.
--
-- What somebody has locked is passed over: a process that hangs in one transaction must not keep the other schemas
-- waiting, and two who reach for the same slots must not wait for each other.
UPDATE {schema}.slots AS s
   SET owner = t.member, fence = s.fence + 1
  FROM (
           SELECT w.name, w.slot, w.member
             FROM unnest($1::integer[], $2::uuid[], $3::text[], $4::integer[], $5::bigint[])
                  AS w (number, member, name, slot, fence)
             JOIN {schema}.slots AS l ON l.name = w.name AND l.slot = w.slot AND l.fence = w.fence
            WHERE w.number = {number}
              FOR UPDATE OF l SKIP LOCKED
       ) AS t
 WHERE s.name = t.name
   AND s.slot = t.slot
RETURNING {number} AS number, s.owner, s.name, s.slot, s.fence

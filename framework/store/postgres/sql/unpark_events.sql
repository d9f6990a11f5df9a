-- $1: a subscription; $2, $3: positions and keys. Forgets that those events were set aside.
DELETE FROM parked AS p
 USING unnest($2::bigint[], $3::text[]) AS e (position, key)
 WHERE p.name = $1
   AND p.position = e.position
   AND p.key = e.key

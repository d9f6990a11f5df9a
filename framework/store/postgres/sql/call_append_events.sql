-- Runs append_events; $1 … $23 are its arguments, in its order.
SELECT base, reached, recorded, starts, outcomes
  FROM append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)

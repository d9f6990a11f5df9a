-- $1, $2, $3: name, number and fence of a slot. No row: it has another fence, or is not there.
SELECT position FROM slots WHERE name = $1 AND slot = $2 AND fence = $3

-- $1: ids of events; $2: a position. Returns whether one of them was recorded after it.
SELECT EXISTS (SELECT FROM events WHERE event_id = ANY ($1) AND position > $2)

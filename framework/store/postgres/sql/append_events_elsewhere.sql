-- Runs append_events on a connection that is not the store's, whose path, plans and time-outs are not the store's either: it
-- brings those along, and takes them away again.
CREATE OR REPLACE FUNCTION append_events_elsewhere(
    batch           uuid,
    attempt         integer,
    patience_ms     integer,
    write_unit      integer[],
    write_stream    text[],
    write_expected  bigint[],
    write_count     integer[],
    event_write     integer[],
    event_place     integer[],
    event_ids       uuid[],
    event_types     text[],
    type_versions   integer[],
    datas           jsonb[],
    metadatas       jsonb[],
    correlation_ids uuid[],
    causation_ids   uuid[],
    receipt_unit    integer[],
    command_ids     uuid[],
    digests         bytea[],
    receipt_stream  text[],
    first_versions  bigint[],
    event_counts    integer[],
    refusals        jsonb[],
    OUT base        bigint,
    OUT reached     bigint,
    OUT recorded    timestamptz,
    OUT starts      bigint[],
    OUT outcomes    jsonb
) LANGUAGE sql VOLATILE
  SET search_path FROM CURRENT
  SET enable_seqscan = off
  SET jit = off
  SET lock_timeout = 0  -- so that what is set inside ends with this call
AS $$
    SELECT append_events.*
      FROM append_events(
               batch, attempt, patience_ms, write_unit, write_stream, write_expected, write_count, event_write,
               event_place, event_ids, event_types, type_versions, datas, metadatas, correlation_ids, causation_ids,
               receipt_unit, command_ids, digests, receipt_stream, first_versions, event_counts, refusals
           )
$$;

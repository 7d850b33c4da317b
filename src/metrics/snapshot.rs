//! Writes the columns out, so that the log before them can go.

use std::io;

use crate::storage::wal::snapshot::{self, SnapshotWriter};
use crate::storage::wal::{Wal, compressed};

use super::record::{BATCH, Batch, COLUMNS, DEFINITIONS, END, put_definition};
use super::store::Shared;
use crate::codec::bytes::put_varint;

/// Bytes of columns in a frame: what one damaged place costs.
const FRAME_BYTES: usize = 4 << 10;

/// Bytes of definitions in a frame, before compression.
const DEFINITION_BYTES: usize = 1 << 20;

/// Series that are copied under one lock.
const STRIDE: u32 = 64;

/// Writes a snapshot, and removes what it covers. `number` came from a cut of the log: everything that was acknowledged
/// by then is in memory, so the columns of now have it. What is appended meanwhile is in both, which does no harm.
pub(super) fn write(shared: &Shared, wal: &Wal, number: u64) -> io::Result<u64> {
    let disk = &shared.seams.disk;
    let mut writer = SnapshotWriter::create(disk, wal.folder(), number)?;
    if let Err(error) = write_frames(shared, wal, &mut writer) {
        writer.abandon();
        return Err(error);
    }
    let len = writer.finish()?;
    snapshot::remove_below(disk, wal, number)?;
    wal.remove_below(number)?;
    Ok(len)
}

/// Writes every column, with what it takes to understand them.
pub(super) fn write_frames(shared: &Shared, wal: &Wal, writer: &mut SnapshotWriter) -> io::Result<()> {
    // Definitions stand at the begin and again at the end: without them columns are worth nothing.
    write_definitions(shared, writer)?;
    let mut payload = Vec::new();
    for shard in &shared.shards {
        let mut from = 0;
        loop {
            let mut copies = Vec::new();
            {
                let shard = shard.lock();
                if from >= shard.slots() {
                    break;
                }
                for slot in from..(from + STRIDE).min(shard.slots()) {
                    copies.extend(shard.by_slot(slot).map(|series| (series.id, series.copy())));
                }
            }
            from += STRIDE;
            for (id, columns) in copies {
                put_varint(&mut payload, id);
                columns.write(&mut payload);
                if payload.len() >= FRAME_BYTES {
                    writer.push(COLUMNS, &payload)?;
                    payload.clear();
                }
            }
        }
        // A snapshot may take seconds: what the log does by time goes on meanwhile.
        wal.tick(shared.seams.clock.monotonic());
    }
    if !payload.is_empty() {
        writer.push(COLUMNS, &payload)?;
    }
    write_definitions(shared, writer)?;
    write_side(shared, writer)?;
    writer.push(END, &[])
}

fn write_definitions(shared: &Shared, writer: &mut SnapshotWriter) -> io::Result<()> {
    let (mut payload, mut buffer) = (Vec::new(), Vec::new());
    for shard in &shared.shards {
        let mut from = 0;
        loop {
            let shard = shard.lock();
            if from >= shard.slots() {
                break;
            }
            for slot in from..(from + STRIDE).min(shard.slots()) {
                if let Some(series) = shard.by_slot(slot) {
                    let labels = shard.symbols().encoded(&series.labels).into_encoded(&mut buffer);
                    put_definition(&mut payload, series.id, labels);
                }
            }
            from += STRIDE;
            drop(shard);
            if payload.len() >= DEFINITION_BYTES {
                writer.push(DEFINITIONS, &compressed(&payload))?;
                payload.clear();
            }
        }
    }
    if payload.is_empty() { Ok(()) } else { writer.push(DEFINITIONS, &compressed(&payload)) }
}

/// Exemplars and metadata, as batches.
fn write_side(shared: &Shared, writer: &mut SnapshotWriter) -> io::Result<()> {
    let mut batch = Batch::default();
    let mut payloads = Vec::new();
    shared.families.visit(|family, metadata| {
        for metadata in metadata.iter().rev() {
            batch.push_metadata(family, metadata);
        }
        if batch.size() > FRAME_BYTES {
            payloads.push(batch.encode());
            batch.clear();
        }
        true
    });
    for (labels, exemplar) in shared.exemplars.all() {
        if let Some(id) = shared.id_of(&labels) {
            batch.push_exemplar(id, &exemplar);
        }
        if batch.size() > FRAME_BYTES {
            payloads.push(batch.encode());
            batch.clear();
        }
    }
    payloads.push(batch.encode());
    payloads.iter().try_for_each(|payload| writer.push(BATCH, payload))
}

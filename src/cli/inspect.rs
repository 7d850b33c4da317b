//! `novascope inspect DIR`: blocks, what their bytes are spent on, bytes per sample by metric and by codec.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::base::disk::Disk;
use crate::cli::{check_data, complain, say};
use crate::metrics::audit_log;
use crate::storage::block::{Block, Usage, audit, check_tombstones, open_all};

#[derive(Debug, Args)]
pub(super) struct Inspect {
    #[arg(value_name = "DIR", default_value = "./novascope-data")]
    folder: PathBuf,
    /// Metrics to list, those with most bytes first; 0 for all.
    #[arg(long, default_value_t = 20)]
    top: usize,
}

impl Inspect {
    pub(super) fn run(&self) -> ExitCode {
        match self.inspect() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("cannot read {}: {error}", self.folder.display()));
                ExitCode::FAILURE
            }
        }
    }

    fn inspect(&self) -> io::Result<()> {
        let mut by_metric: BTreeMap<String, Usage> = BTreeMap::new();
        let mut by_codec: BTreeMap<String, Usage> = BTreeMap::new();
        for file in audit_log(&Disk::real(), &self.folder.join("wal"))?.files {
            say(&check_data::describe(&file));
            file.faults.iter().for_each(|fault| complain(&format!("  damaged: {fault}")));
        }
        let (faults, deletions) = check_tombstones(&Disk::real(), &self.folder.join("blocks"));
        faults.iter().for_each(|fault| complain(fault));
        say(&format!("{deletions} deletions wait for blocks to be rewritten"));
        for (path, block) in open_all(&Disk::real(), &self.folder.join("blocks"))? {
            let block = match block {
                Ok(block) => block,
                Err(error) => {
                    complain(&format!("{}: {error}", path.display()));
                    continue;
                }
            };
            describe(&block);
            let found = audit(&block);
            found.faults.iter().for_each(|fault| complain(fault));
            found.by_metric.into_iter().for_each(|(name, usage)| add(&mut by_metric, name, usage));
            found.by_codec.into_iter().for_each(|(name, usage)| add(&mut by_codec, name.to_owned(), usage));
        }
        table("codec", by_codec, 0);
        table("metric", by_metric, self.top);
        Ok(())
    }
}

fn add(table: &mut BTreeMap<String, Usage>, name: String, usage: Usage) {
    let sum = table.entry(name).or_default();
    sum.chunks += usage.chunks;
    sum.samples += usage.samples;
    sum.bytes += usage.bytes;
}

fn describe(block: &Block) {
    let meta = block.meta();
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |t| t.to_string());
    say(&format!(
        "block {} level {} from {} to {}: {} series, {} samples, {} bytes, {:.3} a sample",
        meta.id,
        meta.level,
        time(meta.min_time),
        time(meta.max_time),
        meta.series,
        meta.samples,
        block.len(),
        ratio(block.len(), meta.samples),
    ));
    let parts: Vec<String> = block.sizes().iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    say(&format!("  {}", parts.join(", ")));
}

/// Prints the rows with most bytes first; `top` 0 prints all.
fn table(title: &str, rows: BTreeMap<String, Usage>, top: usize) {
    let mut rows: Vec<(String, Usage)> = rows.into_iter().collect();
    rows.sort_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then_with(|| a.0.cmp(&b.0)));
    say(&format!("{:>14} {:>14} {:>9} {:>8}  {title}", "bytes", "samples", "chunks", "B/sample"));
    let shown = if top == 0 { rows.len() } else { top };
    for (name, usage) in rows.iter().take(shown) {
        let ratio = ratio(usage.bytes, usage.samples);
        say(&format!("{:>14} {:>14} {:>9} {ratio:>8.3}  {name}", usage.bytes, usage.samples, usage.chunks));
    }
    if rows.len() > shown {
        say(&format!("… and {} more", rows.len() - shown));
    }
}

fn ratio(bytes: u64, samples: u64) -> f64 {
    if samples == 0 { 0.0 } else { bytes as f64 / samples as f64 }
}

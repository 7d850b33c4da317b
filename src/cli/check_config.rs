//! `novascope check config FILES`: what promtool says about a prometheus.yml, with the place of each fault, and about the
//! files that it names.

use std::path::{Path, PathBuf};

use crate::app::config::{self, Config, How};
use crate::base::units::Period;
use crate::base::yaml::YamlError;
use crate::cli::check_rules::{self, Lint};
use crate::cli::verdict::Verdict;
use crate::ingest::{discovery, scrape};
use crate::server::client::config::ClientConfig;

/// What is looked at.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// all, duplicate-rules, too-long-scrape-interval, none; several with commas.
    #[arg(long, value_delimiter = ',', default_value = "duplicate-rules")]
    lint: Vec<String>,
    /// How far queries look back, for too-long-scrape-interval; that of the configuration if absent.
    #[arg(long = "query.lookback-delta", value_name = "DURATION")]
    lookback: Option<Period>,
    /// Look at this file alone, at none that it names.
    #[arg(long)]
    syntax_only: bool,
    /// Pass over keys of rule files that are not known.
    #[arg(long)]
    ignore_unknown_fields: bool,
    /// Refuse what Prometheus as an agent does.
    #[arg(long)]
    agent: bool,
}

pub(super) fn check(files: &[PathBuf], wanted: &Wanted) -> Vec<Verdict> {
    let lints = Lint::read(&wanted.lint, &[Lint::DuplicateRules, Lint::TooLongScrapeInterval]);
    files.iter().map(|file| verdict(file, wanted, &lints)).collect()
}

fn verdict(file: &Path, wanted: &Wanted, lints: &[Lint]) -> Verdict {
    let mut verdict = Verdict::of(file);
    let how = How {
        syntax_only: wanted.syntax_only,
        ignore_unknown_fields: wanted.ignore_unknown_fields,
        is_agent: wanted.agent,
    };
    let loaded = match config::check_as(file, how) {
        Ok(loaded) => loaded,
        Err(config::Faults(faults)) => {
            verdict.faults = faults;
            return verdict;
        }
    };
    verdict.notes = loaded.notes;
    let config = loaded.config;
    if !wanted.syntax_only {
        named_files(&verdict.file, &config, &mut verdict.faults, &mut verdict.notes);
    }
    let rules: usize = config.rule_groups.iter().map(|group| group.rules.len()).sum();
    verdict.summary = format!("{} scrape configs, {rules} rules", config.scrape_configs.len());
    if lints.contains(&Lint::DuplicateRules) {
        let files = config.rule_groups.chunk_by(|one, next| one.file == next.file);
        verdict.lints.extend(files.flat_map(check_rules::repeated));
    }
    if lints.contains(&Lint::TooLongScrapeInterval) && !wanted.syntax_only {
        let lookback = wanted.lookback.unwrap_or(config.own.query.lookback);
        for job in &config.scrape_configs {
            let interval = job.scrape_interval.unwrap_or(config.global.scrape_interval);
            if interval.as_millis() >= lookback.as_millis() {
                let name = &job.job_name;
                verdict.lints.push(format!(
                    "job {name}: a scrape_interval of {interval} leaves gaps, because queries look back {lookback}"
                ));
            }
        }
    }
    verdict
}

/// Files of credentials and certificates must be there, and files of targets be readable where they are there.
fn named_files(name: &str, config: &Config, faults: &mut Vec<YamlError>, notes: &mut Vec<String>) {
    for job in &config.scrape_configs {
        let mut fault = |why: String| faults.push(YamlError::whole_file(name, format!("job {}: {why}", job.job_name)));
        let mut client = job.client();
        client.resolve(&config.folder);
        for (what, path) in secrets(&client) {
            if let Err(error) = std::fs::metadata(&path) {
                fault(format!("{what} {}: {error}", path.display()));
            }
        }
        let (wrong, missing) = scrape::check_targets(job, &config.global.scrape_defaults(), &config.folder);
        wrong.into_iter().for_each(&mut fault);
        let gone =
            |pattern: PathBuf| format!("job {}: file_sd_configs: nothing matches {}", job.job_name, pattern.display());
        notes.extend(missing.into_iter().map(gone));
    }
    for set in &config.forward.sets {
        let written = discovery::written(&set.discovery);
        let fault = |why: String| YamlError::whole_file(name, format!("alertmanagers: {why}"));
        faults.extend(written.faults.into_iter().map(fault));
        let gone = |pattern: PathBuf| format!("alertmanagers: file_sd_configs: nothing matches {}", pattern.display());
        notes.extend(written.missing.into_iter().map(gone));
    }
}

/// The files that promtool looks for.
fn secrets(client: &ClientConfig) -> Vec<(&'static str, PathBuf)> {
    let credentials = client.authorization.as_ref().and_then(|authorization| authorization.credentials_file.clone());
    let tls = client.tls_config.as_ref();
    [
        ("credentials_file", credentials.or_else(|| client.bearer_token_file.clone())),
        ("cert_file", tls.and_then(|tls| tls.cert_file.clone())),
        ("key_file", tls.and_then(|tls| tls.key_file.clone())),
    ]
    .into_iter()
    .filter_map(|(what, path)| Some((what, path?)))
    .collect()
}

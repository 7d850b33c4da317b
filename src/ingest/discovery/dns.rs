//! Targets from DNS records, looked up through the servers and search domains of the system.

use std::collections::BTreeMap;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::config::{DnsConfig, DnsKind};
use super::{DiscoveryError, Group};

pub(super) struct DnsSource {
    config: DnsConfig,
    /// Made at the first look-up: it reads the system's configuration.
    resolver: Option<TokioResolver>,
    /// What each name last resolved to: a name that fails keeps its targets.
    known: BTreeMap<String, Group>,
}

impl DnsSource {
    pub(super) fn new(config: &DnsConfig) -> Self {
        Self { config: config.clone(), resolver: None, known: BTreeMap::new() }
    }

    pub(super) fn interval(&self) -> Duration {
        self.config.refresh_interval.as_duration()
    }

    pub(super) async fn refresh(&mut self) -> Result<Vec<Group>, DiscoveryError> {
        let resolver = match self.resolver.take() {
            Some(resolver) => resolver,
            None => {
                TokioResolver::builder_tokio().and_then(|builder| builder.build()).map_err(|error| wrong(&error))?
            }
        };
        let mut failed = None;
        for name in &self.config.names {
            match look_up(&resolver, name, self.config.kind).await {
                Ok(records) => {
                    let targets = records.iter().filter_map(|record| self.target(name, record)).collect();
                    self.known.insert(name.clone(), Group { targets, labels: BTreeMap::new() });
                }
                Err(error) => {
                    tracing::warn!(name, %error, "name could not be looked up; its targets stay");
                    failed = Some(error);
                }
            }
        }
        self.resolver = Some(resolver);
        match failed {
            // Nothing new at all is a failure; some news are published.
            Some(error) if self.config.names.len() == 1 => Err(error),
            _ => Ok(self.known.values().cloned().collect()),
        }
    }

    /// A record as a target; `None` for kinds that come along, such as CNAME.
    fn target(&self, name: &str, record: &RData) -> Option<BTreeMap<String, String>> {
        let mut labels = BTreeMap::from([("__meta_dns_name".to_owned(), name.to_owned())]);
        let port = self.config.port.unwrap_or_default();
        let address = match record {
            RData::A(address) => format!("{}:{port}", address.0),
            RData::AAAA(address) => format!("[{}]:{port}", address.0),
            RData::SRV(srv) => {
                labels.insert("__meta_dns_srv_record_target".to_owned(), srv.target.to_ascii());
                labels.insert("__meta_dns_srv_record_port".to_owned(), srv.port.to_string());
                format!("{}:{}", unrooted(&srv.target.to_ascii()), srv.port)
            }
            RData::MX(mx) => {
                labels.insert("__meta_dns_mx_record_target".to_owned(), mx.exchange.to_ascii());
                format!("{}:{port}", unrooted(&mx.exchange.to_ascii()))
            }
            RData::NS(ns) => {
                labels.insert("__meta_dns_ns_record_target".to_owned(), ns.0.to_ascii());
                format!("{}:{port}", unrooted(&ns.0.to_ascii()))
            }
            _ => return None,
        };
        labels.insert("__address__".to_owned(), address);
        Some(labels)
    }
}

/// A name that exists without such records, or that does not exist, has no records; only other failures are errors.
async fn look_up(resolver: &TokioResolver, name: &str, kind: DnsKind) -> Result<Vec<RData>, DiscoveryError> {
    let kind = match kind {
        DnsKind::Srv => RecordType::SRV,
        DnsKind::A => RecordType::A,
        DnsKind::Aaaa => RecordType::AAAA,
        DnsKind::Mx => RecordType::MX,
        DnsKind::Ns => RecordType::NS,
    };
    match resolver.lookup(name, kind).await {
        Ok(lookup) => Ok(lookup.answers().iter().map(|record| record.data.clone()).collect()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(wrong(&error)),
    }
}

/// Rooted names look unusual in an instance label.
fn unrooted(name: &str) -> &str {
    name.trim_end_matches('.')
}

fn wrong(error: &dyn std::error::Error) -> DiscoveryError {
    DiscoveryError::Dns(error.to_string())
}

//! `remote_write` and `remote_read` of a prometheus.yml: read and checked as Prometheus does, and without effect.
//!
//! What is stored here is not sent on (docs/moving-data.md has the ways that data goes out). A file must still be one
//! that Prometheus takes, so that it can be given to both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::app::config::section::{Fault, check_header};
use crate::base::go_url;
use crate::base::units::Period;
use crate::ingest::relabel::{NameValidation, RuleConfig};
use crate::server::client::config::{Secret, with_client_keys};

with_client_keys! {
    /// One of `remote_write`.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Write {
        pub url: Option<String>,
        pub remote_timeout: Option<Period>,
        pub headers: Option<BTreeMap<String, Secret>>,
        pub write_relabel_configs: Option<Vec<Option<RuleConfig>>>,
        pub name: Option<String>,
        pub send_exemplars: Option<bool>,
        pub send_native_histograms: Option<bool>,
        pub round_robin_dns: Option<bool>,
        pub protobuf_message: Option<Message>,
        pub failed_request_logging: Option<bool>,
        #[serde(default, deserialize_with = "there")]
        pub queue_config: Option<Option<Queue>>,
        pub metadata_config: Option<Metadata>,
        pub sigv4: Option<SigV4>,
        pub azuread: Option<AzureAd>,
        pub google_iam: Option<GoogleIam>,
    }
}

with_client_keys! {
    /// One of `remote_read`.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Read {
        pub url: Option<String>,
        pub remote_timeout: Option<Period>,
        pub chunked_read_limit: Option<u64>,
        pub headers: Option<BTreeMap<String, Secret>>,
        pub read_recent: Option<bool>,
        pub name: Option<String>,
        pub required_matchers: Option<BTreeMap<String, String>>,
        pub filter_external_labels: Option<bool>,
    }
}

/// The two versions of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Message {
    #[serde(rename = "prometheus.WriteRequest")]
    V1,
    #[serde(rename = "io.prometheus.write.v2.Request")]
    V2,
}

/// `queue_config`, with Prometheus' defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    pub capacity: i64,
    pub max_shards: i64,
    pub min_shards: i64,
    pub max_samples_per_send: i64,
    pub batch_send_deadline: Period,
    pub min_backoff: Period,
    pub max_backoff: Period,
    pub retry_on_http_429: bool,
    pub sample_age_limit: Period,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2_000,
            batch_send_deadline: Period::from_secs(5),
            min_backoff: Period::from_millis(30),
            max_backoff: Period::from_secs(5),
            retry_on_http_429: false,
            sample_age_limit: Period::ZERO,
        }
    }
}

/// `metadata_config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metadata {
    pub send: Option<bool>,
    pub send_interval: Option<Period>,
    pub max_samples_per_send: Option<i64>,
}

/// `sigv4`: how requests to AWS are signed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigV4 {
    pub region: Option<String>,
    pub access_key: Option<String>,
    pub secret_key: Option<Secret>,
    pub profile: Option<String>,
    pub role_arn: Option<String>,
    pub external_id: Option<String>,
    pub use_fips_sts_endpoint: Option<bool>,
    pub service_name: Option<String>,
}

/// `azuread`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AzureAd {
    pub managed_identity: Option<Identity>,
    pub workload_identity: Option<Identity>,
    pub oauth: Option<Identity>,
    pub sdk: Option<Identity>,
    pub certificate: Option<Identity>,
    pub cloud: Option<String>,
    pub scope: Option<String>,
}

/// What one of the ways to Azure needs; each has some of these keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    pub client_id: Option<String>,
    pub tenant_id: Option<String>,
    pub client_secret: Option<Secret>,
    pub token_file_path: Option<PathBuf>,
    pub certificate_path: Option<PathBuf>,
    pub certificate_key_path: Option<PathBuf>,
    pub certificate_password: Option<Secret>,
    pub send_certificate_chain: Option<bool>,
}

/// `google_iam`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GoogleIam {
    pub credentials_file: Option<PathBuf>,
}

/// Tells a key without a value from one that is not there.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Queue>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Checks all of `remote_write`. Names of labels are those that `global` allows.
pub fn check_writes(entries: &[Option<Write>], names: NameValidation) -> Result<(), Fault> {
    check_all("remote_write", entries, |entry| entry.name.as_deref(), |entry| entry.check(names))
}

/// Checks all of `remote_read`.
pub fn check_reads(entries: &[Option<Read>]) -> Result<(), Fault> {
    check_all("remote_read", entries, |entry| entry.name.as_deref(), Read::check)
}

fn check_all<T>(
    section: &'static str,
    entries: &[Option<T>],
    name: impl Fn(&T) -> Option<&str>,
    check: impl Fn(&T) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    for (number, entry) in entries.iter().enumerate() {
        let below = |fault: Fault| fault.below(&number.to_string()).below(section);
        let Some(entry) = entry else {
            return Err(below(Fault::new(format!("{section}: an entry is empty")).with_hint("remove the dash")));
        };
        check(entry).map_err(|fault| below(fault.prefixed(section)))?;
        let name = name(entry).filter(|name| !name.is_empty());
        if let Some(name) = name.filter(|name| !seen.insert((*name).to_owned())) {
            let fault = Fault::new(format!("{section}: found multiple configs with the name {name:?}"));
            return Err(below(fault.below("name").with_hint("give one of them another name")));
        }
    }
    Ok(())
}

impl Write {
    fn check(&self, names: NameValidation) -> Result<(), Fault> {
        check_url(self.url.as_deref())?;
        for (number, rule) in self.write_relabel_configs.iter().flatten().enumerate() {
            let below = |fault: Fault| fault.below(&number.to_string()).below("write_relabel_configs");
            let rule = rule.as_ref().ok_or_else(|| below(Fault::new("empty or null relabeling rule")))?;
            rule.compile(names).map_err(|error| below(Fault::new(error.to_string())))?;
        }
        check_headers(self.headers.as_ref())?;
        self.client().validate().map_err(|error| Fault::new(error.to_string()))?;
        match &self.queue_config {
            Some(Some(queue)) => queue.check().map_err(|fault| fault.below("queue_config"))?,
            // Prometheus takes nothing for zeros.
            Some(None) => {
                return Err(Fault::new("queue_config is empty")
                    .below("queue_config")
                    .with_hint("leave it out for the defaults"));
            }
            None => {}
        }
        // A token of its own is another spelling of authorization.
        let bearer =
            self.bearer_token.as_ref().is_some_and(|token| !token.is_empty()) || self.bearer_token_file.is_some();
        let ways = [
            ("basic_auth", self.basic_auth.is_some()),
            ("authorization", self.authorization.is_some() || bearer),
            ("oauth2", self.oauth2.is_some()),
            ("sigv4", self.sigv4.is_some()),
            ("azuread", self.azuread.is_some()),
            ("google_iam", self.google_iam.is_some()),
        ];
        let given: Vec<&str> = ways.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if let [_, second, ..] = given.as_slice() {
            let all = "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam";
            return Err(Fault::new(format!("{all} must be configured, not {}", given.join(" and "))).below(second));
        }
        if let Some(sigv4) = &self.sigv4 {
            sigv4.check().map_err(|fault| fault.below("sigv4"))?;
        }
        self.azuread.as_ref().map_or(Ok(()), |azuread| azuread.check().map_err(|fault| fault.below("azuread")))
    }
}

impl Read {
    fn check(&self) -> Result<(), Fault> {
        check_url(self.url.as_deref())?;
        check_headers(self.headers.as_ref())?;
        if let Some(name) = self.required_matchers.iter().flatten().find(|(name, _)| name.is_empty()) {
            return Err(Fault::new(format!("{:?} is not a valid label name", name.0)).below("required_matchers"));
        }
        self.client().validate().map_err(|error| Fault::new(error.to_string()))
    }
}

fn check_headers(headers: Option<&BTreeMap<String, Secret>>) -> Result<(), Fault> {
    let why = "the authorization header is set by basic_auth, authorization, oauth2, sigv4, azuread or google_iam";
    let mut names = headers.into_iter().flatten().map(|(name, _)| name);
    names.try_for_each(|name| check_header(name, why).map_err(|fault| fault.below("headers")))
}

fn check_url(url: Option<&str>) -> Result<(), Fault> {
    let Some(url) = url else {
        return Err(Fault::new("url is missing").with_hint("write url: http://HOST:PORT/PATH"));
    };
    match go_url::fault(url) {
        Some(why) => {
            Err(Fault::new(format!("url {url:?}: {why}")).below("url").with_hint("write url: http://HOST:PORT/PATH"))
        }
        None => Ok(()),
    }
}

impl Queue {
    fn check(&self) -> Result<(), Fault> {
        let positive = [
            ("max_shards", self.max_shards),
            ("min_shards", self.min_shards),
            ("max_samples_per_send", self.max_samples_per_send),
            ("capacity", self.capacity),
        ];
        for (key, number) in positive {
            if number <= 0 {
                let fault = Fault::new(format!("{key} must be greater than 0, not {number}"));
                return Err(fault.below(key).with_hint(format!("leave {key} out for the default")));
            }
        }
        if self.min_shards > self.max_shards {
            let why = format!("min_shards {} is greater than max_shards {}", self.min_shards, self.max_shards);
            return Err(Fault::new(why).below("min_shards"));
        }
        if self.max_backoff < self.min_backoff {
            let why = format!("max_backoff {} is less than min_backoff {}", self.max_backoff, self.min_backoff);
            return Err(Fault::new(why).below("max_backoff"));
        }
        Ok(())
    }
}

impl SigV4 {
    fn check(&self) -> Result<(), Fault> {
        let has_key = self.access_key.as_deref().is_some_and(|key| !key.is_empty());
        let has_secret = self.secret_key.as_ref().is_some_and(|key| !key.is_empty());
        if has_key != has_secret {
            return Err(Fault::new("access_key and secret_key need each other"));
        }
        let has = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        if has(&self.external_id) && !has(&self.role_arn) {
            return Err(Fault::new("external_id needs role_arn").below("external_id"));
        }
        Ok(())
    }
}

impl AzureAd {
    fn check(&self) -> Result<(), Fault> {
        let cloud = self.cloud.as_deref().filter(|cloud| !cloud.is_empty()).unwrap_or("AzurePublic");
        if !matches!(cloud, "AzurePublic" | "AzureChina" | "AzureGovernment") {
            let fault = Fault::new(format!("cloud {cloud:?} is none of Azure's")).below("cloud");
            return Err(fault.with_hint("write AzurePublic, AzureChina or AzureGovernment"));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "_:/.-".contains(c);
        if !self.scope.as_deref().unwrap_or_default().chars().all(is_plain) {
            return Err(Fault::new("scope contains invalid characters").below("scope"));
        }
        let ways: [(&str, Option<&Identity>, Keys); 5] = [
            ("managed_identity", self.managed_identity.as_ref(), (&[], &["client_id"])),
            ("workload_identity", self.workload_identity.as_ref(), (&["client_id", "tenant_id"], &["token_file_path"])),
            ("oauth", self.oauth.as_ref(), (&["client_id", "client_secret", "tenant_id"], &[])),
            ("sdk", self.sdk.as_ref(), (&[], &["tenant_id"])),
            ("certificate", self.certificate.as_ref(), (&["client_id", "tenant_id", "certificate_path"], &CERTIFICATE)),
        ];
        let given: Vec<_> = ways.into_iter().filter_map(|(key, way, keys)| Some((key, way?, keys))).collect();
        let all = "managed_identity, workload_identity, oauth, sdk and certificate";
        match given.as_slice() {
            [] => Err(Fault::new(format!("one of {all} must be configured"))),
            [(key, way, keys)] => way.check(key, *keys).map_err(|fault| fault.below(key)),
            [_, (second, ..), ..] => Err(Fault::new(format!("only one of {all} may be configured")).below(second)),
        }
    }
}

/// Keys that a way to Azure needs, and those that it may have beside them.
type Keys = (&'static [&'static str], &'static [&'static str]);

/// What certificates may come with.
const CERTIFICATE: [&str; 3] = ["certificate_key_path", "certificate_password", "send_certificate_chain"];

impl Identity {
    fn check(&self, way: &str, (needed, allowed): Keys) -> Result<(), Fault> {
        let some = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| !path.as_os_str().is_empty());
        let text = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        let secret = |secret: &Option<Secret>| secret.as_ref().is_some_and(|secret| !secret.is_empty());
        let keys = [
            ("client_id", text(&self.client_id)),
            ("tenant_id", text(&self.tenant_id)),
            ("client_secret", secret(&self.client_secret)),
            ("token_file_path", some(&self.token_file_path)),
            ("certificate_path", some(&self.certificate_path)),
            ("certificate_key_path", some(&self.certificate_key_path)),
            ("certificate_password", secret(&self.certificate_password)),
            ("send_certificate_chain", self.send_certificate_chain.is_some()),
        ];
        for (key, is_given) in keys {
            match (is_given, needed.contains(&key), allowed.contains(&key)) {
                (false, true, _) => return Err(Fault::new(format!("{way} needs {key}"))),
                (true, false, false) => return Err(Fault::new(format!("{way} has no {key}")).below(key)),
                _ => {}
            }
        }
        let tenant = self.tenant_id.as_deref().filter(|_| way == "workload_identity");
        for (key, id) in [("client_id", self.client_id.as_deref()), ("tenant_id", tenant)] {
            if let Some(id) = id.filter(|id| !id.is_empty() && !is_uuid(id)) {
                return Err(Fault::new(format!("{key} {id:?} is not a UUID")).below(key));
            }
        }
        Ok(())
    }
}

/// The forms that Go's reader takes: with dashes or without, in braces, or after `urn:uuid:`.
fn is_uuid(text: &str) -> bool {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let inner = inner.strip_prefix("urn:uuid:").unwrap_or(inner);
    let dashes = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    match inner.len() {
        32 => inner.bytes().all(|byte| byte.is_ascii_hexdigit()),
        36 => {
            inner.bytes().enumerate().all(|(at, byte)| if dashes(at) { byte == b'-' } else { byte.is_ascii_hexdigit() })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(yaml: &str) -> Result<(), (String, Vec<String>)> {
        let entries: Vec<Option<Write>> = serde_saphyr::from_str(yaml).map_err(|error| (error.to_string(), vec![]))?;
        check_writes(&entries, NameValidation::Utf8).map_err(|fault| (fault.message, fault.path))
    }

    #[test]
    fn faults_say_where_they_are() {
        for (yaml, message, path) in [
            ("[{url: a}, ~]", "an entry is empty", "remote_write.1"),
            ("[{name: a}]", "url is missing", "remote_write.0"),
            ("[{url: '127.0.0.1:9090/x'}]", "cannot contain colon", "remote_write.0.url"),
            ("[{url: 'http://h:port/'}]", "invalid port", "remote_write.0.url"),
            ("[{url: a, name: n}, {url: b, name: n}]", "\"n\"", "remote_write.1.name"),
            ("[{url: a, headers: {Host: b}}]", "reserved", "remote_write.0.headers.Host"),
            ("[{url: a, queue_config: {capacity: 0}}]", "greater than 0", "remote_write.0.queue_config.capacity"),
            (
                "[{url: a, queue_config: {min_backoff: 10s}}]",
                "max_backoff 5s",
                "remote_write.0.queue_config.max_backoff",
            ),
            ("[{url: a, queue_config: }]", "queue_config is empty", "remote_write.0.queue_config"),
            ("[{url: a, write_relabel_configs: [~]}]", "empty", "remote_write.0.write_relabel_configs.0"),
            ("[{url: a, basic_auth: {username: x}, sigv4: {}}]", "basic_auth and sigv4", "remote_write.0.sigv4"),
            ("[{url: a, azuread: {oauth: {client_id: x}}}]", "needs tenant_id", "remote_write.0.azuread.oauth"),
            ("[{url: a, sigv4: {access_key: x}}]", "need each other", "remote_write.0.sigv4"),
        ] {
            let (said, at) = checked(yaml).unwrap_err();
            assert!(said.contains(message) && at.join(".") == path, "{yaml}: {said} at {at:?}");
        }
        assert_eq!(checked("[{url: localhost:9090, protobuf_message: io.prometheus.write.v2.Request}]"), Ok(()));
        assert!(checked("[{url: a, protobuf_message: io.prometheus.writet.v2.Request}]").is_err());
    }

    #[test]
    fn identities_are_uuids() {
        assert!(is_uuid("00000000-a12b-3cd4-e56f-000000000000") && is_uuid("{00000000-a12b-3cd4-e56f-000000000000}"));
        assert!(!is_uuid("00000000-a12b-3cd4-e56f-00000000000g") && !is_uuid("bad"));
    }
}

//! How a client reaches a server and says who it is: the keys that Prometheus' files put beside others.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::go_url;

/// A value that is shown to nobody.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; for requests only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// `basic_auth`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    pub username: String,
    pub username_file: Option<PathBuf>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
}

/// `authorization`: a scheme, `Bearer` unless another is named, and credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    #[serde(rename = "type")]
    pub scheme: Option<String>,
    pub credentials: Option<Secret>,
    pub credentials_file: Option<PathBuf>,
}

/// `oauth2`: client credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OAuth2 {
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub client_secret_file: Option<PathBuf>,
    pub scopes: Vec<String>,
    pub token_url: String,
    pub endpoint_params: BTreeMap<String, String>,
    pub tls_config: Option<TlsConfig>,
    pub proxy_url: Option<String>,
    pub no_proxy: Option<String>,
    pub proxy_from_environment: bool,
    pub proxy_connect_header: Option<BTreeMap<String, Vec<Secret>>>,
}

/// `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    pub ca: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub cert: Option<String>,
    pub cert_file: Option<PathBuf>,
    pub key: Option<Secret>,
    pub key_file: Option<PathBuf>,
    pub server_name: String,
    pub insecure_skip_verify: bool,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
}

/// A protocol version, by its name in Go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    #[serde(rename = "TLS10")]
    Tls10,
    #[serde(rename = "TLS11")]
    Tls11,
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// One of `http_headers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Header {
    pub values: Vec<String>,
    pub secrets: Vec<Secret>,
    pub files: Vec<PathBuf>,
}

/// Everything about a client. In files these keys stand beside others: see [`with_client_keys`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    pub basic_auth: Option<BasicAuth>,
    pub authorization: Option<Authorization>,
    pub oauth2: Option<OAuth2>,
    pub bearer_token: Option<Secret>,
    pub bearer_token_file: Option<PathBuf>,
    pub tls_config: Option<TlsConfig>,
    pub follow_redirects: bool,
    pub enable_http2: bool,
    pub proxy_url: Option<String>,
    pub no_proxy: Option<String>,
    pub proxy_from_environment: bool,
    pub proxy_connect_header: Option<BTreeMap<String, Vec<Secret>>>,
    pub http_headers: BTreeMap<String, Header>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            bearer_token: None,
            bearer_token_file: None,
            tls_config: None,
            follow_redirects: true,
            enable_http2: true,
            proxy_url: None,
            no_proxy: None,
            proxy_from_environment: false,
            proxy_connect_header: None,
            http_headers: BTreeMap::new(),
        }
    }
}

/// Whether a header changes the connection or is set by the client itself; the list is Prometheus'.
pub fn is_reserved(header: &str) -> bool {
    matches!(
        header.to_ascii_lowercase().as_str(),
        "authorization"
            | "host"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "user-agent"
            | "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "www-authenticate"
            | "accept-encoding"
            | "x-prometheus-remote-write-version"
            | "x-prometheus-remote-read-version"
            | "x-prometheus-scrape-timeout-seconds"
            | "x-amz-date"
            | "x-amz-security-token"
            | "x-amz-content-sha256"
    )
}

/// A configuration that no client can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientConfigError {
    #[error("at most one of {0} must be configured")]
    AtMostOne(&'static str),
    #[error("if {0} is configured, {1} must not be configured")]
    Together(&'static str, &'static str),
    #[error("if {0} is configured, {1} must also be configured")]
    Alone(&'static str, &'static str),
    #[error("proxy_url: {0}")]
    ProxyUrl(&'static str),
    #[error("authorization type cannot be set to \"basic\", use \"basic_auth\" instead")]
    BasicScheme,
    #[error("oauth2 {0} must be configured")]
    OAuth2Missing(&'static str),
    #[error("tls_config needs both a certificate and a key, or none")]
    HalfCertificate,
    #[error("tls_config max_version is below the oldest version that is spoken, TLS12")]
    TooOldTls,
    #[error("tls_config min_version is above max_version")]
    EmptyTlsRange,
    #[error("http_headers: {0:?} is not a header that may be set")]
    Header(String),
}

impl ClientConfig {
    /// Checks what the shape of the file does not say.
    pub fn validate(&self) -> Result<(), ClientConfigError> {
        let ways = [self.basic_auth.is_some(), self.authorization.is_some(), self.oauth2.is_some()];
        let bearer = [self.bearer_token.is_some(), self.bearer_token_file.is_some()];
        if ways.iter().chain(&bearer).filter(|set| **set).count() > 1 {
            return Err(ClientConfigError::AtMostOne(
                "basic_auth, authorization, oauth2, bearer_token & bearer_token_file",
            ));
        }
        self.proxy().validate()?;
        if let Some(basic) = &self.basic_auth {
            at_most_one(
                !basic.username.is_empty(),
                basic.username_file.is_some(),
                "basic_auth username & username_file",
            )?;
            at_most_one(
                basic.password.is_some(),
                basic.password_file.is_some(),
                "basic_auth password & password_file",
            )?;
        }
        if let Some(authorization) = &self.authorization {
            at_most_one(
                authorization.credentials.is_some(),
                authorization.credentials_file.is_some(),
                "authorization credentials & credentials_file",
            )?;
            if authorization.scheme.as_deref().is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("basic")) {
                return Err(ClientConfigError::BasicScheme);
            }
        }
        if let Some(oauth2) = &self.oauth2 {
            oauth2.validate()?;
        }
        if let Some(tls) = &self.tls_config {
            tls.validate()?;
        }
        for name in self.http_headers.keys() {
            if http::HeaderName::try_from(name).is_err() || is_reserved(name) {
                return Err(ClientConfigError::Header(name.clone()));
            }
        }
        Ok(())
    }

    /// Takes relative paths as relative to the folder of the file that holds them.
    pub fn resolve(&mut self, folder: &Path) {
        if let Some(basic) = &mut self.basic_auth {
            join(folder, &mut basic.username_file);
            join(folder, &mut basic.password_file);
        }
        if let Some(authorization) = &mut self.authorization {
            join(folder, &mut authorization.credentials_file);
        }
        join(folder, &mut self.bearer_token_file);
        if let Some(oauth2) = &mut self.oauth2 {
            join(folder, &mut oauth2.client_secret_file);
            oauth2.tls_config.iter_mut().for_each(|tls| tls.resolve(folder));
        }
        self.tls_config.iter_mut().for_each(|tls| tls.resolve(folder));
        for header in self.http_headers.values_mut() {
            for file in &mut header.files {
                *file = folder.join(&file);
            }
        }
    }
}

/// The keys that name a proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProxyConfig<'a> {
    pub(super) url: Option<&'a str>,
    pub(super) no_proxy: Option<&'a str>,
    pub(super) from_environment: bool,
    pub(super) connect_header: Option<&'a BTreeMap<String, Vec<Secret>>>,
}

impl ClientConfig {
    pub(super) fn proxy(&self) -> ProxyConfig<'_> {
        ProxyConfig {
            url: self.proxy_url.as_deref().filter(|url| !url.is_empty()),
            no_proxy: self.no_proxy.as_deref().filter(|list| !list.is_empty()),
            from_environment: self.proxy_from_environment,
            connect_header: self.proxy_connect_header.as_ref().filter(|headers| !headers.is_empty()),
        }
    }
}

impl ProxyConfig<'_> {
    fn validate(self) -> Result<(), ClientConfigError> {
        let (has_url, has_list) = (self.url.is_some(), self.no_proxy.is_some());
        if let Some(why) = self.url.and_then(go_url::fault) {
            return Err(ClientConfigError::ProxyUrl(why));
        }
        match () {
            () if self.from_environment && has_url => {
                Err(ClientConfigError::Together("proxy_from_environment", "proxy_url"))
            }
            () if self.from_environment && has_list => {
                Err(ClientConfigError::Together("proxy_from_environment", "no_proxy"))
            }
            () if has_list && !has_url => Err(ClientConfigError::Alone("no_proxy", "proxy_url")),
            () if self.connect_header.is_some() && !has_url && !self.from_environment => {
                Err(ClientConfigError::Alone("proxy_connect_header", "proxy_url or proxy_from_environment"))
            }
            () => Ok(()),
        }
    }
}

impl OAuth2 {
    /// How the token is asked for.
    pub(super) fn client(&self) -> ClientConfig {
        ClientConfig {
            tls_config: self.tls_config.clone(),
            proxy_url: self.proxy_url.clone(),
            no_proxy: self.no_proxy.clone(),
            proxy_from_environment: self.proxy_from_environment,
            proxy_connect_header: self.proxy_connect_header.clone(),
            ..ClientConfig::default()
        }
    }

    fn validate(&self) -> Result<(), ClientConfigError> {
        if self.client_id.is_empty() {
            return Err(ClientConfigError::OAuth2Missing("client_id"));
        }
        if self.token_url.is_empty() {
            return Err(ClientConfigError::OAuth2Missing("token_url"));
        }
        self.client().proxy().validate()?;
        at_most_one(
            self.client_secret.is_some(),
            self.client_secret_file.is_some(),
            "oauth2 client_secret & client_secret_file",
        )?;
        self.tls_config.as_ref().map_or(Ok(()), TlsConfig::validate)
    }
}

impl TlsConfig {
    /// Checks what the shape of the file does not say.
    pub fn validate(&self) -> Result<(), ClientConfigError> {
        at_most_one(self.ca.is_some(), self.ca_file.is_some(), "tls_config ca & ca_file")?;
        at_most_one(self.cert.is_some(), self.cert_file.is_some(), "tls_config cert & cert_file")?;
        at_most_one(self.key.is_some(), self.key_file.is_some(), "tls_config key & key_file")?;
        let has_cert = self.cert.is_some() || self.cert_file.is_some();
        if has_cert != (self.key.is_some() || self.key_file.is_some()) {
            return Err(ClientConfigError::HalfCertificate);
        }
        if self.max_version.is_some_and(|version| version < TlsVersion::Tls12) {
            return Err(ClientConfigError::TooOldTls);
        }
        if matches!((self.min_version, self.max_version), (Some(min), Some(max)) if min > max) {
            return Err(ClientConfigError::EmptyTlsRange);
        }
        Ok(())
    }

    /// Takes relative paths as relative to the folder of the file that holds them.
    pub fn resolve(&mut self, folder: &Path) {
        for file in [&mut self.ca_file, &mut self.cert_file, &mut self.key_file] {
            join(folder, file);
        }
    }
}

fn join(folder: &Path, file: &mut Option<PathBuf>) {
    if let Some(file) = file {
        *file = folder.join(&*file);
    }
}

fn at_most_one(first: bool, second: bool, names: &'static str) -> Result<(), ClientConfigError> {
    if first && second { Err(ClientConfigError::AtMostOne(names)) } else { Ok(()) }
}

/// Defines a configuration structure that has the keys of [`ClientConfig`] beside its own, as Prometheus' files do.
/// serde's `flatten` cannot do this, because with it unknown keys are not noticed.
#[macro_export]
macro_rules! with_client_keys {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            #[serde(default)]
            basic_auth: Option<$crate::server::client::config::BasicAuth>,
            #[serde(default)]
            authorization: Option<$crate::server::client::config::Authorization>,
            #[serde(default)]
            oauth2: Option<$crate::server::client::config::OAuth2>,
            #[serde(default)]
            bearer_token: Option<$crate::server::client::config::Secret>,
            #[serde(default)]
            bearer_token_file: Option<std::path::PathBuf>,
            #[serde(default)]
            tls_config: Option<$crate::server::client::config::TlsConfig>,
            #[serde(default)]
            follow_redirects: Option<bool>,
            #[serde(default)]
            enable_http2: Option<bool>,
            #[serde(default)]
            proxy_url: Option<String>,
            #[serde(default)]
            no_proxy: Option<String>,
            #[serde(default)]
            proxy_from_environment: bool,
            #[serde(default)]
            proxy_connect_header: Option<
                std::collections::BTreeMap<String, Vec<$crate::server::client::config::Secret>>,
            >,
            #[serde(default)]
            http_headers: std::collections::BTreeMap<String, $crate::server::client::config::Header>,
        }

        impl $name {
            /// The keys of the HTTP client.
            pub fn client(&self) -> $crate::server::client::config::ClientConfig {
                $crate::server::client::config::ClientConfig {
                    basic_auth: self.basic_auth.clone(),
                    authorization: self.authorization.clone(),
                    oauth2: self.oauth2.clone(),
                    bearer_token: self.bearer_token.clone(),
                    bearer_token_file: self.bearer_token_file.clone(),
                    tls_config: self.tls_config.clone(),
                    follow_redirects: self.follow_redirects.unwrap_or(true),
                    enable_http2: self.enable_http2.unwrap_or(true),
                    proxy_url: self.proxy_url.clone(),
                    no_proxy: self.no_proxy.clone(),
                    proxy_from_environment: self.proxy_from_environment,
                    proxy_connect_header: self.proxy_connect_header.clone(),
                    http_headers: self.http_headers.clone(),
                }
            }
        }
    };
}

pub use with_client_keys;

#[cfg(test)]
mod tests {
    use super::*;

    fn validated(yaml: &str) -> Result<(), String> {
        let config: ClientConfig = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn contradictions_are_refused() {
        for (yaml, expected) in [
            ("{basic_auth: {username: a}, bearer_token: x}", "at most one of basic_auth"),
            ("{basic_auth: {username: a, password: b, password_file: c}}", "at most one of basic_auth password"),
            ("{authorization: {type: Basic}}", "use \"basic_auth\""),
            ("{no_proxy: a}", "proxy_url must also be configured"),
            ("{proxy_url: '127.0.0.1:3128'}", "proxy_url: first path segment"),
            ("{proxy_connect_header: {A: [b]}}", "proxy_url or proxy_from_environment must also"),
            ("{proxy_url: 'http://p', proxy_from_environment: true}", "proxy_url must not be configured"),
            ("{tls_config: {cert_file: a}}", "needs both"),
            ("{tls_config: {max_version: TLS11}}", "below the oldest"),
            ("{oauth2: {client_id: a}}", "token_url"),
            ("{http_headers: {X-Amz-Date: {values: [a]}}}", "\"X-Amz-Date\" is not a header"),
            ("{http_headers: {Host: {values: [a]}}}", "\"Host\" is not a header"),
            ("{tls_confg: {}}", "tls_confg"),
        ] {
            let error = validated(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
        assert_eq!(validated("{authorization: {credentials: x}, tls_config: {min_version: TLS12}}"), Ok(()));
    }

    #[test]
    fn secrets_are_not_shown_and_paths_follow_their_file() {
        let yaml = "{bearer_token: hunter2, tls_config: {ca_file: ca.pem, key_file: /k.pem}}";
        let mut config: ClientConfig = serde_saphyr::from_str(yaml).unwrap();
        config.resolve(Path::new("/etc/n"));
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && shown.contains("<secret>"), "{shown}");
        assert!(shown.contains("/etc/n/ca.pem") && shown.contains("\"/k.pem\""), "{shown}");
    }
}

//! Hosts that are reached without a proxy: `no_proxy`, as Go reads it.

use std::net::IpAddr;

/// A list of hosts. Loopback is in every list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exempt {
    is_list: bool,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    All,
    /// An address, with a port or all of them.
    Address(IpAddr, Option<u16>),
    /// A network: address and length of the prefix.
    Network(IpAddr, u32),
    /// A name and all below it; with a leading dot only those below.
    Domain {
        name: String,
        only_below: bool,
        port: Option<u16>,
    },
}

impl Exempt {
    /// Parts separated by commas: `*`, addresses, networks, names; a port where it matters.
    pub(super) fn read(text: &str) -> Self {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Self { is_list: true, rules: parts.map(read_rule).collect() }
    }

    pub(super) fn contains(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if self.is_list && (host == "localhost" || address.is_some_and(|address| address.is_loopback())) {
            return true;
        }
        self.rules.iter().any(|rule| match rule {
            Rule::All => true,
            Rule::Address(known, wanted) => address == Some(*known) && wanted.is_none_or(|wanted| wanted == port),
            Rule::Network(network, bits) => address.is_some_and(|address| is_inside(address, *network, *bits)),
            Rule::Domain { name, only_below, port: wanted } => {
                let below = host.strip_suffix(name.as_str());
                let fits = below.is_some_and(|rest| rest.ends_with('.') || (rest.is_empty() && !only_below));
                fits && wanted.is_none_or(|wanted| wanted == port)
            }
        })
    }
}

fn read_rule(part: &str) -> Rule {
    if part == "*" {
        return Rule::All;
    }
    if let Some((address, bits)) = part.split_once('/')
        && let (Ok(address), Ok(bits)) = (address.parse(), bits.parse())
    {
        return Rule::Network(address, bits);
    }
    let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    if let Some(address) = bare(part) {
        return Rule::Address(address, None);
    }
    let (host, port) = match part.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (part, None),
    };
    if let Some(address) = bare(host) {
        return Rule::Address(address, port);
    }
    let host = host.to_ascii_lowercase();
    let name = host.trim_start_matches('*').trim_start_matches('.');
    Rule::Domain { name: name.to_owned(), only_below: host.starts_with(['.', '*']), port }
}

fn is_inside(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (address, network, width): (u128, u128, u32) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let shift = width.saturating_sub(bits);
    address.checked_shr(shift).unwrap_or(0) == network.checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_exempt_as_go_reads_the_list() {
        let list = Exempt::read("example.org, .below.org, *.star.org, 10.0.0.0/8, 192.0.2.7:9090, fd00::/8, one:8080");
        for (host, port, expected) in [
            ("example.org", 80, true),
            ("EXAMPLE.org.", 80, true),
            ("a.example.org", 443, true),
            ("anexample.org", 80, false),
            ("below.org", 80, false),
            ("a.below.org", 80, true),
            ("a.star.org", 80, true),
            ("10.1.2.3", 80, true),
            ("11.1.2.3", 80, false),
            ("192.0.2.7", 9090, true),
            ("192.0.2.7", 80, false),
            ("[fd00::1]", 80, true),
            ("[fe00::1]", 80, false),
            ("one", 8080, true),
            ("one", 80, false),
            ("127.0.0.1", 80, true),
            ("localhost", 80, true),
        ] {
            assert_eq!(list.contains(host, port), expected, "{host}:{port}");
        }
        assert!(Exempt::read("*").contains("anything", 1));
        assert!(!Exempt::default().contains("127.0.0.1", 80), "without a list loopback is a host like others");
    }
}

//! The ports: bound before anything else, so that a taken one costs nothing.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::app::error::StartError;
use crate::app::options::{Listen, Options};

/// The bound listeners.
#[derive(Debug)]
pub struct Bound {
    pub main: TcpListener,
    pub otlp_grpc: Option<TcpListener>,
    pub otlp_http: Option<TcpListener>,
}

/// Binds every port that the options ask for. `beyond_loopback` is the flag or the setting.
pub async fn bind(options: &Options, beyond_loopback: bool) -> Result<Bound, StartError> {
    let bind = |flag, listen, or_off| bind_one(flag, listen, beyond_loopback, or_off);
    let main = bind("--listen", &options.listen, "").await?.ok_or(StartError::MainOff)?;
    let or_off = ", or off";
    let otlp_grpc = bind("--otlp.grpc-listen", &options.otlp_grpc_listen, or_off).await?;
    let otlp_http = bind("--otlp.http-listen", &options.otlp_http_listen, or_off).await?;
    Ok(Bound { main, otlp_grpc, otlp_http })
}

async fn bind_one(
    flag: &'static str,
    listen: &Listen,
    beyond_loopback: bool,
    or_off: &'static str,
) -> Result<Option<TcpListener>, StartError> {
    if let (Some(address), false) = (listen.beyond_loopback(), beyond_loopback) {
        return Err(StartError::BeyondLoopback { flag, address });
    }
    let Listen::At(addresses, text) = listen else { return Ok(None) };
    match TcpListener::bind(&addresses[..]).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(StartError::AddressTaken { flag, address: text.clone(), suggestion: next(addresses), or_off })
        }
        Err(source) => Err(StartError::Listen { flag, address: text.clone(), source }),
    }
}

/// The same address ten thousand ports up: easy to type and rarely taken.
fn next(addresses: &[SocketAddr]) -> String {
    addresses.first().map_or_else(String::new, |address| {
        let port = address.port().checked_add(10_000).unwrap_or(0);
        SocketAddr::new(address.ip(), port).to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fault(flag: &'static str, listen: &str, beyond: bool) -> String {
        bind_one(flag, &listen.parse().unwrap(), beyond, ", or off").await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_taken_port_names_the_flag_and_a_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let holder = TcpListener::bind(taken).await.unwrap();
        let text = fault("--otlp.grpc-listen", &taken.to_string(), false).await;
        assert!(text.starts_with(&format!("--otlp.grpc-listen: {taken} is taken")), "{text}");
        assert!(text.contains("--otlp.grpc-listen 127.0.0.1:") && text.ends_with(", or off"), "{text}");
        drop(holder);
    }

    #[tokio::test]
    async fn other_machines_need_a_yes() {
        let text = fault("--listen", "0.0.0.0:0", false).await;
        assert!(text.contains("--listen.beyond-loopback"), "{text}");
        assert!(bind_one("--listen", &"0.0.0.0:0".parse().unwrap(), true, "").await.unwrap().is_some());
    }
}

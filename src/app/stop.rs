//! Signals: stop in peace, stop at once, read the configuration again.

use std::process;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// From the first signal to the end of the process, whatever hangs.
pub const STOP_MAX: Duration = Duration::from_millis(4_800);

/// What an operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Stop,
    Reload,
}

/// The signals that the daemon obeys.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes the signals over from their defaults.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next order.
    pub async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.hang_up.recv() => Order::Reload,
        }
    }

    /// Runs while the daemon drains: ends the process at a second order to stop, or when the time is up.
    pub async fn force(mut self) {
        tokio::select! {
            () = async { while self.next().await != Order::Stop {} } => {
                tracing::warn!("told twice to stop: ending at once");
                process::exit(130);
            }
            () = tokio::time::sleep(STOP_MAX) => {
                // Whatever was acknowledged is on disk; what hangs here is a client or a device.
                tracing::warn!("not everything ended in time: ending at once");
                process::exit(0);
            }
        }
    }
}

//! The order to stop, seen by every task.

use tokio_util::sync::CancellationToken;

/// Tells tasks that the process is stopping. Clones share one state; it goes from running to draining once.
#[derive(Clone, Debug, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// Asks everybody to finish what they hold and end.
    pub fn start(&self) {
        self.0.cancel();
    }

    /// Whether the process is stopping.
    pub fn is_draining(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when the process starts to stop.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// A drain that ends with this one, and may be started by itself: for a listener or scrape pool that a reload
    /// takes away.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}

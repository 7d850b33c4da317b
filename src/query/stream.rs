//! Answers that are made while they are sent: exports and streamed remote reads.
//!
//! They wait for their turn as every query does, and then take as long as the client takes, so the time limit of
//! queries does not hold for them; a client that takes nothing for a minute is let go. Memory is a few pieces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::base::tasks::TaskKind;
use crate::query::error::QueryError;
use crate::query::{Ended, Job, Queries, Run, Running};

/// Pieces that wait for the client.
const WAITING_MAX: usize = 4;

/// A piece is sent when it has at least this size: enough to make a system call worth it.
const PIECE_BYTES: usize = 64 << 10;

/// The longest that a client may take nothing.
const STALL_MAX: Duration = Duration::from_secs(60);

enum Piece {
    Data(Bytes),
    Failed(QueryError),
    /// Without it the answer was cut short.
    End,
}

/// Where the work puts its bytes.
pub struct Sink {
    sender: mpsc::Sender<Piece>,
    runtime: Handle,
    /// Bytes that are not sent yet; append to it.
    pub buffer: Vec<u8>,
}

impl Sink {
    /// Sends what was gathered, if it is enough to be worth it. Call it between units of work.
    pub fn pace(&mut self) -> Result<(), QueryError> {
        if self.buffer.len() < PIECE_BYTES { Ok(()) } else { self.flush() }
    }

    /// Sends what was gathered.
    pub fn flush(&mut self) -> Result<(), QueryError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let data = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES + 4096)));
        self.send(Piece::Data(data))
    }

    fn send(&self, piece: Piece) -> Result<(), QueryError> {
        let sent = self.runtime.block_on(tokio::time::timeout(STALL_MAX, self.sender.send(piece)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(QueryError::Canceled("sending the answer")),
            Err(_) => Err(QueryError::Timeout("sending the answer to a client that does not read")),
        }
    }
}

/// The pieces of an answer, to be sent as they come. Dropping it stops the work.
pub struct Pieces {
    first: Option<Piece>,
    rest: mpsc::Receiver<Piece>,
    cancel: Arc<AtomicBool>,
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

impl Pieces {
    /// The body. An error in it cuts the connection, so that no client takes a part for the whole.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, QueryError>> + Send {
        futures_util::stream::unfold(Some(self), |state| async move {
            let mut pieces = state?;
            let piece = match pieces.first.take() {
                Some(first) => Some(first),
                None => pieces.rest.recv().await,
            };
            match piece {
                Some(Piece::Data(data)) => Some((Ok(data), Some(pieces))),
                Some(Piece::End) => None,
                Some(Piece::Failed(error)) => Some((Err(error), None)),
                None => Some((Err(QueryError::Internal("the answer was cut short".to_owned())), None)),
            }
        })
    }
}

impl Queries {
    /// Runs `work` on a blocking thread when it is this query's turn, and answers when its first piece is there; what
    /// fails before is an error.
    pub async fn stream<W>(&self, job: Job, work: W) -> Result<Pieces, QueryError>
    where
        W: FnOnce(&Run, &mut Sink) -> Result<(), QueryError> + Send + 'static,
    {
        let began = self.clock.monotonic();
        let kind = job.kind;
        let entry = self.active.enter(job.question, job.asker.clone(), began);
        let running = Running::enter(kind);
        let turn = tokio::time::timeout(self.config.timeout.as_duration(), self.gate.enter(job.asker.key())).await;
        let seat = match turn {
            Err(_) => return Err(QueryError::Timeout("query queue")),
            Ok(Err(_)) => return Err(QueryError::Overload),
            Ok(Ok(seat)) => seat,
        };
        let waited = self.clock.monotonic().saturating_sub(began);
        let cancel = Arc::clone(&entry.query.cancel);
        let samples = Arc::<AtomicU64>::default();
        let run = Run { cancel: Arc::clone(&cancel), slow: Arc::default(), waited, samples };
        let (sender, mut rest) = mpsc::channel(WAITING_MAX);
        let queries = self.clone();
        let mut sink = Sink { sender, runtime: Handle::current(), buffer: Vec::new() };
        self.tasks.spawn_blocking(TaskKind::Query, move || {
            let _seat = seat;
            let result = work(&run, &mut sink).and_then(|()| sink.flush());
            let mut running = running;
            running.ended = true;
            drop(running);
            let took = queries.clock.monotonic().saturating_sub(began);
            let samples = run.samples.load(Ordering::Relaxed);
            queries.account(kind, &entry.query, Ended { took, samples, error: result.as_ref().err() });
            let last = match result {
                Ok(()) => Piece::End,
                Err(error) => Piece::Failed(error),
            };
            // Who left does not need to know.
            let _ = sink.send(last);
        });
        match rest.recv().await {
            Some(Piece::Failed(error)) => Err(error),
            Some(first) => Ok(Pieces { first: Some(first), rest, cancel }),
            None => Err(QueryError::Internal("the work failed; the server's log says more".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;
    use crate::base::clock::Clock;
    use crate::base::tasks::Tasks;
    use crate::query::active::{Asker, Question};
    use crate::query::config::Config;
    use crate::query::{Lane, QueryKind};

    fn queries() -> Queries {
        Queries::new(Clock::real(), Tasks::default(), Config::default())
    }

    fn job() -> Job {
        let question = Question { query: "up".to_owned(), ..Question::default() };
        Job { kind: QueryKind::Export, question, asker: Asker::default(), timeout: None, lane: Lane::Seat }
    }

    async fn whole(pieces: Pieces) -> Result<usize, QueryError> {
        let mut stream = std::pin::pin!(pieces.into_stream());
        let mut bytes = 0;
        while let Some(piece) = stream.next().await {
            bytes += piece?.len();
        }
        Ok(bytes)
    }

    fn put(sink: &mut Sink, pieces: usize) -> Result<(), QueryError> {
        for _ in 0..pieces {
            sink.buffer.extend_from_slice(&[7; PIECE_BYTES]);
            sink.pace()?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn pieces_come_in_order_and_whole() {
        let pieces = queries().stream(job(), |_, sink| put(sink, 20)).await.unwrap();
        assert_eq!(whole(pieces).await, Ok(20 * PIECE_BYTES));
        let nothing = queries().stream(job(), |_, _| Ok(())).await.unwrap();
        assert_eq!(whole(nothing).await, Ok(0));
    }

    #[tokio::test]
    async fn a_failure_is_an_answer_before_the_first_piece_and_cuts_the_body_after_it() {
        let failed = || QueryError::Storage("disk".to_owned());
        let early = queries().stream(job(), move |_, _| Err(failed())).await;
        assert_eq!(early.err(), Some(failed()));
        let late = queries().stream(job(), move |_, sink| put(sink, 1).and(Err(failed()))).await.unwrap();
        assert_eq!(whole(late).await, Err(failed()));
        let panicked = queries().stream(job(), |_, sink| put(sink, 1).map(|()| panic!("bug"))).await.unwrap();
        assert!(matches!(whole(panicked).await, Err(QueryError::Internal(_))));
    }

    #[tokio::test]
    async fn a_client_that_leaves_stops_the_work() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let endless = |_: &Run, sink: &mut Sink| {
            let result = put(sink, usize::MAX);
            let _ = tell.send(result.clone());
            result
        };
        drop(queries().stream(job(), endless).await.unwrap());
        assert!(matches!(told.await.unwrap(), Err(QueryError::Canceled(_))));
    }
}

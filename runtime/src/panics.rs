//! Panics of code that handles one record or one aggregate, caught so that the rest of the batch is
//! completed.
//!
//! A panic that nothing catches ends the invocation: Lambda delivers the whole batch again, the batch
//! panics again, and its other aggregates wait until the batch is discarded. Catching needs the
//! profile's `panic` to be `unwind`, the default.

use std::panic::{self, AssertUnwindSafe, Location};

use futures_util::FutureExt as _;

/// Code panicked. The panic's message is not kept, because it may quote a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the code panicked")]
pub struct Panicked;

/// Runs `work`. What `work` changed before it panicked stays changed: the caller has to drop it or to
/// use no part of it that may be half changed.
///
/// # Errors
/// [`Panicked`] if `work` panicked. The same input would panic again.
pub fn isolated<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

/// [`isolated`] for a future.
///
/// # Errors
/// [`Panicked`] if the future panicked when it was polled.
pub async fn isolated_future<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.map_err(|_| Panicked)
}

/// Logs each panic of this process, by its location only. The standard hook writes the message too.
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(Location::to_string);
        tracing::error!(location, "the code panicked");
    }));
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.0.lock().expect("unpoisoned");
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_an_error_of_its_own_work_alone() {
        assert_eq!(isolated(|| 1), Ok(1));
        assert_eq!(isolated(|| panic!("secret")), Err::<(), _>(Panicked));
    }

    #[tokio::test]
    async fn a_future_that_panics_after_a_wait_is_an_error() {
        let panics = async |panics: bool| {
            tokio::task::yield_now().await;
            assert!(!panics, "secret");
        };
        assert_eq!(isolated_future(panics(false)).await, Ok(()));
        assert_eq!(isolated_future(panics(true)).await, Err(Panicked));
    }

    #[test]
    fn a_panic_is_logged_by_its_location_and_not_by_its_message() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            log_panics();
            let panicked = isolated(|| panic!("secret"));
            assert_eq!(panicked, Err::<(), _>(Panicked));
        });
        let log = written.0.lock().expect("unpoisoned").clone();
        let log = String::from_utf8(log).expect("text");
        assert!(log.contains("panics.rs"), "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
}

//! What is tried again: by the server's word on whether it happened, and by whether a repetition can harm.

use crate::error::ClientError;
use dunlin_types::ErrorCode;
use std::time::Duration;

/// What a repetition of a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// It may happen twice: only where it certainly did not happen.
    Harms,
    /// It carries a request id, so the nodes know it again: also where it may have happened.
    IsRecognised,
    /// It changes nothing.
    ReadsAgain,
}

/// First wait after an attempt that may have been applied, or whose replicas failed; doubled each time.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest wait that a node is granted.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long to wait before the next attempt after the `failed`-th (from 1) ended so; `None`: no more. `fresh`: the
/// next node was not asked yet.
pub(crate) fn pause_before_next(
    repetition: Repetition,
    error: &ClientError,
    failed: u32,
    fresh: bool,
) -> Option<Duration> {
    let backoff = || (PAUSE * 2u32.saturating_pow(failed - 1)).min(PAUSE_MAX);
    let failure = match error {
        // Nobody is there: another node may be.
        ClientError::Connect { .. } | ClientError::Handshake { .. } | ClientError::Busy { .. } => {
            return Some(Duration::ZERO);
        }
        ClientError::Broken { .. } | ClientError::Unanswered { .. } => {
            return (repetition != Repetition::Harms).then(backoff);
        }
        ClientError::Failed(failure) => failure,
        _ => return None,
    };
    match (repetition, failure.kind()?) {
        (Repetition::Harms, _) if failure.maybe_applied() => None,
        (_, ErrorCode::NotReady) if fresh => Some(Duration::ZERO),
        (_, ErrorCode::NotReady | ErrorCode::Overloaded) => {
            let after = failure.field("retry_after_ms").and_then(|ms| ms.parse().ok());
            Some(after.map_or(PAUSE, Duration::from_millis).min(PAUSE_MAX))
        }
        (Repetition::IsRecognised, ErrorCode::WriteTimeout | ErrorCode::WriteFailure) => Some(backoff()),
        (Repetition::ReadsAgain, _) if failure.is_temporary() => Some(Duration::ZERO),
        _ => None,
    }
}

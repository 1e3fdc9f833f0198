//! The errors a client gets when replicas fall short.

use super::tracker::Tally;
use crate::message::Refusal;
use crate::store::StoreError;
use crate::view::{ReplicaSet, View};
use dunlin_types::error::Applied;
use dunlin_types::{ClusterError, Consistency, ErrorCode, ReplicaOutcome};
use smallvec::SmallVec;

/// What became of a request at each replica, by index; `None` while it is under way.
pub(crate) type Outcomes = SmallVec<[Option<ReplicaOutcome>; 6]>;

/// The facts around a request that fell short.
pub(crate) struct Shortfall<'a> {
    pub view: &'a View,
    pub replicas: &'a ReplicaSet,
    pub tally: &'a Tally,
    pub outcomes: &'a Outcomes,
    pub level: Consistency,
}

impl Shortfall<'_> {
    /// Too few replicas are up: nothing was sent.
    pub fn unavailable(&self, applied: Option<Applied>) -> Box<ClusterError> {
        let (required, alive) = self.tally.shortfall(self.replicas.alive);
        let message = format!("{} needs {required} live replicas, {alive} of them are up", self.level);
        self.error(ErrorCode::Unavailable, message, applied, (required, 0))
    }

    /// Replicas were asked, and too few did it.
    pub fn failed(&self, write: bool) -> Box<ClusterError> {
        let (required, received) = self.tally.shortfall(self.tally.done());
        let late = self.outcomes.iter().any(|o| matches!(o, None | Some(ReplicaOutcome::Timeout)));
        let code = match (write, late) {
            (true, true) => ErrorCode::WriteTimeout,
            (true, false) => ErrorCode::WriteFailure,
            (false, true) => ErrorCode::ReadTimeout,
            (false, false) => ErrorCode::ReadFailure,
        };
        let verb = if write { "acknowledged" } else { "answered" };
        let when = if late { " in time" } else { "" };
        let message = format!("{} needs {required} replicas, {received} {verb}{when}", self.level);
        self.error(code, message, write.then_some(Applied::Maybe), (required, received))
    }

    /// The coordinating replica was asked and did not say what became of the write.
    pub fn unknown(&self, host: dunlin_types::HostId) -> Box<ClusterError> {
        let message =
            format!("no answer from {}, which was asked to coordinate the write", self.view.name_of(host));
        let (required, _) = self.tally.shortfall(0);
        self.error(ErrorCode::WriteTimeout, message, Some(Applied::Maybe), (required, 0))
    }

    fn error(
        &self,
        code: ErrorCode,
        message: String,
        applied: Option<Applied>,
        counts: (u32, u32),
    ) -> Box<ClusterError> {
        let mut error = ClusterError::new(code, message);
        error.consistency = Some(self.level);
        error.required = counts.0;
        error.received = counts.1;
        error.alive = self.replicas.alive.count_ones();
        error.applied = applied;
        error.replicas = self
            .replicas
            .hosts
            .iter()
            .enumerate()
            .map(|(i, host)| (self.view.name_of(*host), self.outcome(i, code)))
            .collect();
        Box::new(error)
    }

    fn outcome(&self, index: usize, code: ErrorCode) -> ReplicaOutcome {
        match self.outcomes.get(index).copied().flatten() {
            Some(outcome) => outcome,
            None if self.replicas.alive & 1 << index == 0 => ReplicaOutcome::Down,
            None if code == ErrorCode::Unavailable => ReplicaOutcome::NotAsked,
            None => ReplicaOutcome::Timeout,
        }
    }
}

/// An error about a write of which nothing was applied.
pub(crate) fn not_applied(
    code: ErrorCode,
    message: impl Into<String>,
    level: Consistency,
) -> Box<ClusterError> {
    let mut error = ClusterError::new(code, message);
    error.consistency = Some(level);
    error.applied = Some(Applied::No);
    Box::new(error)
}

/// The client's error when a replica refused to coordinate and no other could.
pub(crate) fn refused(refusal: &Refusal, level: Consistency, retry_after_ms: u32) -> Box<ClusterError> {
    let code = match refusal {
        Refusal::Overloaded { .. } => ErrorCode::Overloaded,
        Refusal::DiskFull => ErrorCode::DiskFull,
        Refusal::NotReady | Refusal::StaleLayout(_) | Refusal::Behind(_) | Refusal::NotOwner(_) => {
            ErrorCode::NotReady
        }
        Refusal::UnknownTable => ErrorCode::Invalid,
        Refusal::Failed(_) | Refusal::Malformed => ErrorCode::WriteFailure,
    };
    let mut error = not_applied(code, format!("no replica took the write: {refusal}"), level);
    if let Refusal::Overloaded { retry_after_ms } = refusal {
        error.retry_after_ms = Some(*retry_after_ms);
    } else if code == ErrorCode::NotReady {
        error.retry_after_ms = Some(retry_after_ms);
    }
    error
}

/// A store's error as a replica's refusal. (`Refused` carries an error of its own.)
pub(crate) fn refusal_of(error: StoreError, retry_after_ms: u32) -> Refusal {
    match error {
        StoreError::UnknownTable(_) => Refusal::UnknownTable,
        StoreError::DiskFull(_) => Refusal::DiskFull,
        StoreError::Overloaded => Refusal::Overloaded { retry_after_ms },
        other => Refusal::Failed(other.to_string()),
    }
}

/// A refusal as an outcome at one replica.
pub(crate) fn outcome_of(refusal: &Refusal) -> ReplicaOutcome {
    match refusal {
        Refusal::StaleLayout(_) | Refusal::Behind(_) | Refusal::NotOwner(_) => ReplicaOutcome::StaleLayout,
        Refusal::Overloaded { .. } => ReplicaOutcome::Overloaded,
        _ => ReplicaOutcome::Failed,
    }
}

//! One client's session: what it has set, and the execution of its statements.

use super::budget::Held;
use super::errors::not_applied;
use super::execute;
use super::services::{ClientServices, Readiness};
use dunlin_cql::operation::Touched;
use dunlin_cql::{Operation, Reply, SessionState, parse, plan};
use dunlin_types::{ErrorCode, Key, Mono, TableId};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// First words of statements that read or write data.
const WORKING: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "BEGIN"];

/// A statement of this many bytes has to find room for what it carries.
const LONG_BYTES: usize = 16 << 10;

/// Executes the statements of one client, in order unless its user has reasons not to.
pub struct Session {
    services: Arc<ClientServices>,
    state: SessionState,
    /// Tells it from other sessions, for its share of the node.
    number: u64,
    ended: bool,
}

/// A statement that was parsed and planned.
pub struct Prepared {
    pub(super) operation: Operation,
    pub(super) started: Mono,
    /// Number of its session.
    pub(super) session: u64,
    /// Its share of the memory for long statements.
    pub(super) held: Option<Held>,
}

impl Prepared {
    /// What it touches if it may run beside others: nothing, or one key. `None`: it runs alone.
    pub fn touched(&self) -> Option<Option<(TableId, Key)>> {
        match self.operation.touched()? {
            Touched::Nothing => Some(None),
            Touched::Key(table, key) => Some(Some((table.id, key.clone()))),
        }
    }
}

impl Session {
    /// A new session with the defaults.
    pub fn new(services: Arc<ClientServices>) -> Session {
        let number = services.stats.sessions.fetch_add(1, Ordering::Relaxed);
        let state =
            SessionState { value_bytes_max: services.settings.value_bytes, ..SessionState::default() };
        Session { services, state, number, ended: false }
    }

    /// What the session has set.
    pub fn state(&self) -> &SessionState {
        &self.state
    }

    /// What it shares with other sessions.
    pub fn services(&self) -> &Arc<ClientServices> {
        &self.services
    }

    /// Whether `QUIT` was executed.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Executes one statement; a `;` at its end is allowed. Not cancel-safe: a write that is dropped may still
    /// happen.
    pub async fn execute(&mut self, text: &str) -> Reply {
        match self.prepare(text) {
            Ok(prepared) => self.run(prepared).await,
            Err(reply) => reply,
        }
    }

    /// The answer to a statement for which this node has no time, without a look at more than its first word.
    pub fn shed(&self, text: &str) -> Option<Reply> {
        let word = text.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let works = WORKING.iter().any(|w| w.eq_ignore_ascii_case(word));
        if !works || self.services.backend.readiness() != Readiness::Ready {
            return None;
        }
        let refused = self.services.admission.sheds(self.number)?;
        self.services.stats.statements.fetch_add(1, Ordering::Relaxed);
        self.services.stats.errors.fetch_add(1, Ordering::Relaxed);
        Some(execute::overloaded(refused))
    }

    /// Parses and plans a statement against the schema of this moment.
    pub fn prepare(&self, text: &str) -> Result<Prepared, Reply> {
        let started = self.services.runtime().mono();
        self.services.stats.statements.fetch_add(1, Ordering::Relaxed);
        let held = match text.len() {
            0..LONG_BYTES => None,
            bytes => Some(self.services.work_budget.hold(bytes).ok_or_else(|| {
                let message = "too many long statements are being worked on";
                not_applied(ErrorCode::Overloaded, message).with("retry_after_ms", "200")
            })?),
        };
        let planned = match parse(text) {
            Ok(statement) => {
                let view = self.services.coordinator.core().views.peek();
                plan(statement, &view.schema, &self.state).map_err(Reply::from)
            }
            Err(error) => Err(error.into()),
        };
        match planned {
            Ok(operation) => Ok(Prepared { operation, started, session: self.number, held }),
            Err(reply) => {
                self.services.stats.errors.fetch_add(1, Ordering::Relaxed);
                Err(self.not_ready_instead(reply))
            }
        }
    }

    /// A node that is not part of a cluster yet knows no schema: it must not say that a table does not exist.
    fn not_ready_instead(&self, reply: Reply) -> Reply {
        match self.services.backend.readiness() {
            Readiness::Starting if reply.code() == Some(ErrorCode::Invalid) => starting(&self.services),
            _ => reply,
        }
    }

    /// Executes a prepared statement of any kind.
    pub async fn run(&mut self, prepared: Prepared) -> Reply {
        match prepared.operation {
            Operation::Use(keyspace) => self.state.keyspace = keyspace,
            Operation::Consistency(Some(level)) => self.state.consistency = level,
            Operation::Consistency(None) => {
                return Reply::ok_with("consistency", self.state.consistency.name());
            }
            Operation::Tracing(on) => self.state.tracing = on,
            Operation::ShowTracing => return Reply::ok_with("tracing", self.tracing()),
            Operation::Paging(rows) => self.state.page_rows = rows,
            Operation::ShowPaging => return Reply::ok_with("paging", self.paging()),
            Operation::ShowSession => return self.show(),
            Operation::Login { user, password } => return self.login(user, &password),
            Operation::Quit => self.ended = true,
            _ => return self.start(prepared).await,
        }
        Reply::ok()
    }

    /// Executes a prepared statement that does not change the session, apart from it.
    pub fn start(&self, prepared: Prepared) -> impl Future<Output = Reply> + Send + 'static {
        let services = Arc::clone(&self.services);
        let tracing = self.state.tracing;
        async move { execute::run(&services, prepared, tracing).await }
    }

    fn show(&self) -> Reply {
        let state = &self.state;
        let view = self.services.view();
        Reply::ok_with("keyspace", &state.keyspace)
            .with("consistency", state.consistency.name())
            .with("paging", self.paging())
            .with("tracing", self.tracing())
            .with("user", state.user.as_deref().unwrap_or_default())
            .with("node", view.name_of(view.me))
    }

    fn paging(&self) -> String {
        self.state.page_rows.map_or_else(|| "OFF".to_owned(), |rows| rows.to_string())
    }

    fn tracing(&self) -> &'static str {
        if self.state.tracing { "ON" } else { "OFF" }
    }

    fn login(&mut self, user: String, password: &str) -> Reply {
        match self.services.backend.login(&user, password) {
            Ok(asked) => {
                let mut reply = Reply::ok();
                if !asked {
                    reply.warnings.push("this server asks nobody to log in".to_owned());
                }
                self.state.user = Some(user);
                reply
            }
            Err(error) => super::errors::reply(&self.services, *error, None),
        }
    }
}

pub(super) fn starting(services: &ClientServices) -> Reply {
    not_applied(ErrorCode::NotReady, services.backend.obstacle()).with("retry_after_ms", "500")
}

pub(super) fn draining() -> Reply {
    not_applied(ErrorCode::NotReady, "this node is stopping; ask another").with("retry_after_ms", "0")
}

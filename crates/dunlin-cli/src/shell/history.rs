//! What was typed before, kept in a file: after every statement, beside what other shells add to it.

use dunlin_terminal::complain;
use rustyline::history::FileHistory;
use rustyline::{Editor, Helper};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Entries kept.
pub const ENTRIES_MAX: usize = 10_000;
/// How rustyline's files begin.
const FIRST_LINE: &[u8] = b"#V2\n";

/// The file of a history.
pub struct History {
    path: Option<PathBuf>,
}

impl History {
    /// `DUNLIN_HISTORY`, or `.dunlin_history` in the home folder. An empty variable, or one that names something that is
    /// no file, keeps nothing.
    pub fn open<H: Helper>(editor: &mut Editor<H, FileHistory>) -> History {
        let path = match std::env::var_os("DUNLIN_HISTORY") {
            Some(path) if path.is_empty() => None,
            Some(path) => Some(PathBuf::from(path)),
            None => std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".dunlin_history")),
        };
        let mut history = History { path };
        if let Some(path) = &history.path {
            match create(path) {
                Ok(true) => {
                    if let Err(error) = editor.load_history(path) {
                        history.give_up(&error);
                    }
                }
                Ok(false) => history.path = None,
                Err(error) => history.give_up(&error),
            }
        }
        history
    }

    /// Keeps what was typed; `is_secret`: only until the next line.
    pub fn add<H: Helper>(&mut self, editor: &mut Editor<H, FileHistory>, text: &str, is_secret: bool) {
        if is_secret {
            return;
        }
        let _ = editor.add_history_entry(text.trim_end());
        if let Some(path) = &self.path
            && let Err(error) = editor.append_history(path)
        {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &dyn std::error::Error) {
        let path = self.path.take().unwrap_or_default();
        complain!("the history is not kept: {}: {error}", path.display());
    }
}

/// There is a file that only its owner may read; false if there is something else.
fn create(path: &Path) -> std::io::Result<bool> {
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => file.write_all(FIRST_LINE).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(std::fs::metadata(path)?.is_file())
        }
        Err(error) => Err(error),
    }
}

//! One statement: told apart, carried out, its answer shown.

#![allow(clippy::disallowed_methods, reason = "an edge: the shell measures in real time")]

use super::answer::{Answer, show_fields};
use super::command::{self, Command};
use super::failure::Trouble;
use super::nature::Nature;
use super::origin::Origin;
use super::session::Outcome;
use super::statements::Statements;
use super::{Shell, batch};
use crate::args::RowFormat;
use dunlin_client::Reply;
use dunlin_cql::splitter::{Part, Piece, Place, Unfinished};
use dunlin_terminal::say;
use std::io::IsTerminal;
use std::path::Path;
use std::pin::pin;
use std::time::Instant;

/// How a statement, or a text of them, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Done,
    /// Not done, which was said.
    Failed,
    /// Ended by Ctrl-C, which was said.
    Interrupted,
}

/// Files that say SOURCE of one another.
const DEPTH_MAX: usize = 16;

fn place(place: Place) -> (u32, u32) {
    (place.line, place.column)
}

/// A statement in its place, as the parts of its execution need it.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub text: &'a str,
    pub start: (u32, u32),
    pub origin: &'a Origin<'a>,
    pub format: RowFormat,
}

impl Told<'_> {
    pub fn complain(&self, trouble: &Trouble) -> Status {
        trouble.complain(self.format, self.origin, self.text, self.start);
        Status::Failed
    }
}

impl Shell {
    /// Runs a statement and shows what came of it. An error is none of the statement's: standard output is gone.
    pub async fn run(&mut self, piece: &Piece<'_>, origin: &Origin<'_>) -> anyhow::Result<Status> {
        let format = self.style.format;
        if let Some(open) = piece.unfinished
            && open.part != Part::Statement
        {
            let told = Told { text: piece.text, start: place(open.place), origin, format };
            let (line, column) = origin.place(open.place.line, open.place.column);
            let open = Unfinished { place: Place { line, column, ..open.place }, ..open };
            return Ok(told.complain(&Trouble::new(open.to_string())));
        }
        let Some(text) = piece.to_send() else { return Ok(Status::Done) };
        let told = Told { text: &text, start: place(piece.start), origin, format };
        let of_body = Told { start: place(piece.body_start), ..told };
        match command::parse(piece.body) {
            None => self.send(&told, &of_body).await,
            Some(Err(what)) => Ok(of_body.complain(&Trouble::new(what))),
            Some(Ok(command)) => self.carry_out(command, &of_body, piece.body).await,
        }
    }

    async fn carry_out(&mut self, command: Command, told: &Told<'_>, body: &str) -> anyhow::Result<Status> {
        match command {
            Command::Quit => self.ended = true,
            Command::Copy => return self.copy(body, told).await,
            Command::Source(file) => return self.source(&file, told).await,
            Command::Expand(Some(on)) => self.style.expanded = on,
            Command::Expand(None) => {
                let state = if self.style.expanded { "ON" } else { "OFF" };
                show_fields(self.style.format, false, [("expand", state)].into_iter())?;
            }
            Command::More => return self.more(told).await,
            Command::Clear => {
                if std::io::stdout().is_terminal() {
                    say!("\x1b[H\x1b[2J")?;
                }
            }
            Command::ShowHost => {
                show_fields(self.style.format, false, [("host", self.session.host())].into_iter())?;
            }
            Command::Help(text) => self.show_help(text.lines())?,
            Command::HelpOverview(text) => return self.help(text, told).await,
        }
        Ok(Status::Done)
    }

    /// Sends a statement to the cluster. `of_body` is its place without the comments before it.
    async fn send(&mut self, told: &Told<'_>, of_body: &Told<'_>) -> anyhow::Result<Status> {
        self.rest = None;
        let mut nature = Nature::of(told.text);
        if let Some(select) = nature.select.take() {
            return self.select(told, of_body, select).await;
        }
        let began = Instant::now();
        let reply = match self.exchange(told.text, &nature).await {
            Ok(reply) => reply,
            Err(ended) => return Ok(self.say_why(ended, &nature, told, of_body)),
        };
        if let Some(name) = nature.setting {
            self.session.remember(name, told.text);
        }
        self.names_changed |= nature.of_schema || nature.setting == Some("USE");
        let mut answer = Answer::new(self.style, &nature, Vec::new(), 0);
        answer.show(&reply)?;
        answer.finish(&reply, false)?;
        self.say_time(told.origin, began)?;
        Ok(Status::Done)
    }

    /// The reply; or why there is none.
    pub(super) async fn exchange(&mut self, text: &str, nature: &Nature) -> Result<Reply, Outcome> {
        let mut interrupted = pin!(self.interrupts.next());
        match self.session.exchange(text, nature.changes, &mut interrupted).await {
            Outcome::Answer(reply) => Ok(reply),
            other => Err(other),
        }
    }

    pub(super) fn say_why(
        &self,
        ended: Outcome,
        nature: &Nature,
        told: &Told<'_>,
        of_body: &Told<'_>,
    ) -> Status {
        let maybe = |sent: bool| if sent && nature.changes { "; it may have been applied" } else { "" };
        match ended {
            Outcome::Answer(_) => Status::Done,
            Outcome::Refused(failure) => {
                let trouble = Trouble::of(failure);
                if trouble.place.is_some() { told } else { of_body }.complain(&trouble)
            }
            Outcome::Unsent(why) => of_body.complain(&Trouble::new(why)),
            Outcome::Lost(why) => of_body.complain(&Trouble::new(format!("{why}{}", maybe(true)))),
            Outcome::Cancelled(sent) => {
                of_body.complain(&Trouble::new(format!("cancelled{}", maybe(sent))));
                Status::Interrupted
            }
        }
    }

    async fn source(&mut self, file: &str, told: &Told<'_>) -> anyhow::Result<Status> {
        self.rest = None;
        if self.depth == DEPTH_MAX {
            let what =
                format!("more than {DEPTH_MAX} files say SOURCE of one another, the last one of {file}");
            return Ok(told.complain(&Trouble::new(what)));
        }
        let path = match told.origin.directory {
            Some(directory) => directory.join(file),
            None => Path::new(file).to_owned(),
        };
        let statements = match Statements::of_file(&path).await {
            Ok(statements) => statements,
            Err(error) => return Ok(told.complain(&Trouble::new(format!("{error:#}")))),
        };
        self.depth += 1;
        let done = Box::pin(batch::run(self, statements)).await;
        self.depth -= 1;
        let status = done?;
        if status == Status::Failed && !told.origin.is_prompt() {
            told.complain(&Trouble::new(format!("SOURCE '{file}' stopped at that error")));
        }
        Ok(status)
    }

    async fn help(&mut self, more: &str, told: &Told<'_>) -> anyhow::Result<Status> {
        let nature = Nature::of(told.text);
        match self.exchange(told.text, &nature).await {
            Ok(reply) => {
                let lines = reply.rows.iter().filter_map(|row| row.first()?.as_deref());
                self.show_help(lines.chain(more.lines()))?;
                Ok(Status::Done)
            }
            Err(ended) => Ok(self.say_why(ended, &nature, told, told)),
        }
    }

    fn show_help<'t>(&self, lines: impl Iterator<Item = &'t str>) -> anyhow::Result<()> {
        let reply = Reply {
            columns: Some(vec!["help".to_owned()]),
            rows: lines.map(|line| vec![Some(line.into())]).collect(),
            ..Reply::default()
        };
        let nature = Nature { is_text: true, ..Nature::default() };
        Ok(Answer::new(self.style, &nature, Vec::new(), 0).show(&reply)?)
    }

    pub(super) fn say_time(&self, origin: &Origin<'_>, began: Instant) -> anyhow::Result<()> {
        if origin.is_prompt() {
            say!("{:.1} ms", began.elapsed().as_secs_f64() * 1000.0)?;
        }
        Ok(())
    }
}

//! Lines typed on a terminal, read only when they are there: a read that is given up leaves nobody behind who takes the
//! next line.

#![allow(clippy::disallowed_methods, reason = "an edge: it reads what a person types, in real time")]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Read as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

/// How often it is looked whether a line was typed.
const EVERY: Duration = Duration::from_millis(30);

/// Standard input, where that is a terminal.
#[derive(Default)]
pub struct Terminal(Option<Pin<Box<Sleep>>>);

impl AsyncRead for Terminal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut stdin = std::io::stdin().lock();
        loop {
            if let Some(pause) = &mut self.0 {
                ready!(pause.as_mut().poll(context));
            }
            self.0 = None;
            let mut wanted = [PollFd::new(&stdin, PollFlags::IN)];
            if poll(&mut wanted, Some(&Timespec::default()))? > 0 {
                break;
            }
            self.0 = Some(Box::pin(tokio::time::sleep(EVERY)));
        }
        // The terminal gives the line that it has, and does not wait for another.
        let mut line = [0; 4096];
        let room = out.remaining().min(line.len());
        let length = stdin.read(&mut line[..room])?;
        out.put_slice(&line[..length]);
        Poll::Ready(Ok(()))
    }
}

//! What connections need of a stream, beyond reading and writing.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Bytes that are read from a peer that is told good-bye, at most.
const LINGER_BYTES: usize = 64 << 20;

/// A stream that a client is served over.
pub(super) trait ClientStream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Tells the peer's system at once that what came was received. A system acknowledges with its next
    /// answer, or after about 40 ms when there is none; a peer that sends small pieces waits for that before it
    /// sends the next one. So this is called where what was read leaves nothing to answer: the line end behind a
    /// statement, or half of one.
    fn acknowledge(&self);
}

impl ClientStream for TcpStream {
    fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        // It is of use for speed only.
        let _ = self.set_quickack(true);
    }
}

impl ClientStream for TlsStream<TcpStream> {
    fn acknowledge(&self) {
        self.get_ref().0.acknowledge();
    }
}

/// Tells the peer that no more comes. If it may still be sending (`linger`), its bytes are read and dropped:
/// closing on unread bytes would reset the connection and could take the last answer with it. Ends when the peer
/// closes its side; the caller bounds the time.
pub(super) async fn part(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), linger: bool) -> io::Result<()> {
    stream.shutdown().await?;
    let mut scratch = [0; 4096];
    let mut left = LINGER_BYTES;
    while linger && left > 0 {
        match stream.read(&mut scratch).await? {
            0 => break,
            n => left = left.saturating_sub(n),
        }
    }
    Ok(())
}

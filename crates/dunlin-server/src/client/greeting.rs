//! The first bytes of a connection: whether the peer speaks this protocol, and what it is told if it does not.

use dunlin_cql::Reply;
use dunlin_types::ErrorCode;
use dunlin_types::error::Applied;

/// What the first bytes say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Greeting {
    /// Statements.
    Text,
    /// Too few bytes to tell, and they may be text.
    Unknown,
    /// Too few bytes to tell, and they are not text.
    MoreNeeded,
    /// Another protocol.
    Foreign(Foreign),
}

/// Protocols that come to this port by mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Foreign {
    /// Binary CQL; the bytes are the header's version, flags and stream.
    Binary([u8; 4]),
    /// HTTP. Refused for another reason too: a page in a browser may send any request, and its body may hold
    /// statements.
    Http,
    /// TLS, on a port that speaks plain text.
    Tls,
}

const PLAIN_PORT: &str = "this port speaks the text protocol of Dunlin";
const TLS_PORT: &str =
    "this port speaks TLS: connect with TLS (the tools take --tls-ca FILE, the certificate of the authority)";
/// Beginnings of HTTP requests, the byte behind the blank aside.
const METHODS: [&[u8]; 9] =
    [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"PATCH ", b"PRI "];

impl Foreign {
    /// Its name, for logs.
    pub fn name(self) -> &'static str {
        match self {
            Foreign::Binary(_) => "binary CQL",
            Foreign::Http => "HTTP",
            Foreign::Tls => "TLS",
        }
    }

    /// What the peer is told in its own protocol, so that it shows that to its user. The connection is closed then.
    pub fn answer(self) -> Vec<u8> {
        match self {
            Foreign::Binary(header) => binary_error(header, PLAIN_PORT),
            Foreign::Http => http_error(&format!("{PLAIN_PORT}, not HTTP: HTTP is on the admin port")),
            Foreign::Tls => tls_alert(HANDSHAKE_FAILURE),
        }
    }
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 && !byte.is_ascii_whitespace() && byte != 0x0b
}

/// Looks at the first bytes of a connection. A frame of the binary protocol starts with version, flags
/// and two bytes of stream, a TLS record with 22 and 3; text has no control characters there.
pub(super) fn greeting(bytes: &[u8]) -> Greeting {
    match bytes {
        [] => Greeting::Unknown,
        [first] if is_control(*first) => Greeting::MoreNeeded,
        [0x16, 0x03, ..] => Greeting::Foreign(Foreign::Tls),
        [first, second, ..] if is_control(*second) || is_control(*first) => match bytes {
            [version, flags, high, low, ..] => {
                Greeting::Foreign(Foreign::Binary([*version, *flags, *high, *low]))
            }
            _ => Greeting::MoreNeeded,
        },
        [_] => Greeting::Unknown,
        _ => http(bytes),
    }
}

/// No statement begins with the name of a method but `DELETE`, and no table with what follows it in a request.
fn http(bytes: &[u8]) -> Greeting {
    for method in METHODS {
        if method.starts_with(bytes) {
            return Greeting::Unknown;
        }
        if let Some(target) = bytes.strip_prefix(method) {
            return match target.first() {
                Some(b'/' | b'*' | b'h' | b'H') if method != b"DELETE " => Greeting::Foreign(Foreign::Http),
                // `DELETE //comment` is no path of a request, and `DELETE h...` none of a server.
                Some(b'/') if !matches!(target.get(1), Some(b'/' | b'*')) => match target.len() {
                    1 => Greeting::Unknown,
                    _ => Greeting::Foreign(Foreign::Http),
                },
                _ => Greeting::Text,
            };
        }
    }
    Greeting::Text
}

/// What the first bytes of a connection to a port that speaks TLS say, if they are no TLS: the answer.
pub(super) fn answer_without_tls(bytes: &[u8]) -> Vec<u8> {
    match greeting(bytes) {
        Greeting::Foreign(Foreign::Http) => http_error(TLS_PORT),
        Greeting::Foreign(Foreign::Binary(header)) => binary_error(header, TLS_PORT),
        _ => Reply::error(ErrorCode::Invalid, TLS_PORT).with("applied", Applied::No.name()).to_bytes(),
    }
}

/// `handshake_failure` of RFC 8446, section 6.
const HANDSHAKE_FAILURE: u8 = 40;
/// `internal_error`, the nearest that TLS has to "too many".
const INTERNAL_ERROR: u8 = 80;

/// A fatal alert before any handshake: the peer's library reports it at once.
fn tls_alert(description: u8) -> Vec<u8> {
    vec![0x15, 0x03, 0x03, 0, 2, 2, description]
}

/// What a TLS client is told when there are too many.
pub(super) fn tls_too_many() -> Vec<u8> {
    tls_alert(INTERNAL_ERROR)
}

fn http_error(message: &str) -> Vec<u8> {
    let length = message.len() + 1;
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{message}\n"
    )
    .into_bytes()
}

/// The one frame that a binary CQL client is answered with: ERROR, protocol error, in its own version.
fn binary_error(header: [u8; 4], message: &str) -> Vec<u8> {
    const PROTOCOL_ERROR: u32 = 0x000a;
    let message = format!("Invalid or unsupported protocol version: {message}");
    let version = match header[0] & 0x7f {
        version @ 3..=5 => version,
        _ => 4,
    };
    let mut body = PROTOCOL_ERROR.to_be_bytes().to_vec();
    body.extend_from_slice(&(message.len() as u16).to_be_bytes());
    body.extend_from_slice(message.as_bytes());
    let mut frame = vec![version | 0x80, 0, header[2], header[3], 0];
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_told_apart_however_their_bytes_come() {
        let startup: &[u8] = &[4, 0, 0, 7, 1, 0, 0, 0, 22];
        let hello: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
        for (bytes, expected) in [
            (startup, Greeting::Foreign(Foreign::Binary([4, 0, 0, 7]))),
            (hello, Greeting::Foreign(Foreign::Tls)),
            (b"GET / HTTP/1.1\r\n", Greeting::Foreign(Foreign::Http)),
            (b"POST /; HTTP/1.1\r\n", Greeting::Foreign(Foreign::Http)),
            (b"OPTIONS * HTTP/1.1\r\n", Greeting::Foreign(Foreign::Http)),
            (b"DELETE /kv HTTP/1.1\r\n", Greeting::Foreign(Foreign::Http)),
            (b"PRI * HTTP/2.0\r\n", Greeting::Foreign(Foreign::Http)),
            (b";\n\n;", Greeting::Text),
            (b"DELETE FROM kv WHERE key = 'a';", Greeting::Text),
            (b"DELETE /* x */ FROM kv", Greeting::Text),
            (b"DELETE // x\n FROM kv", Greeting::Text),
            (b"GET;", Greeting::Text),
            (b"\xef\xbb\xbfSELECT", Greeting::Text),
        ] {
            assert_eq!(greeting(bytes), expected);
            // No beginning of it is taken for something else.
            for cut in 0..bytes.len() {
                let part = greeting(&bytes[..cut]);
                assert!(
                    part == expected || matches!(part, Greeting::Unknown | Greeting::MoreNeeded),
                    "{part:?}"
                );
            }
        }
    }

    #[test]
    fn answers_are_in_the_protocol_of_the_peer() {
        let frame = Foreign::Binary([4, 0, 0, 7]).answer();
        assert_eq!(frame[..5], [0x84, 0, 0, 7, 0]);
        assert_eq!(frame.len() - 9, u32::from_be_bytes(frame[5..9].try_into().unwrap()) as usize);
        let page = String::from_utf8(Foreign::Http.answer()).unwrap();
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 400 ")
                && head.contains(&format!("Content-Length: {}\r\n", body.len()))
        );
        assert_eq!(Foreign::Tls.answer()[..3], [0x15, 3, 3]);
        let line = String::from_utf8(answer_without_tls(b"SELECT")).unwrap();
        assert!(
            line.starts_with("ERROR\tINVALID\tthis port speaks TLS") && line.ends_with("\tapplied=no\n"),
            "{line}"
        );
        assert!(answer_without_tls(b"GET / ").starts_with(b"HTTP/1.1 400 "));
        assert_eq!(answer_without_tls(&[4, 0, 0, 7])[0], 0x84);
    }
}

//! Frames of the streams, without I/O. All integers little-endian.
//!
//! ```text
//! stream   u8 kind (lane, or lane | OWN) | frames
//! request  u32 length of the rest | u64 id | u32 timeout in ms | body
//! answer   u32 length of the rest | u64 id | u8 status | body
//! ```
//! On a lane's stream a body has at most [`LANE_BODY_MAX`] bytes; a larger one has a stream of its
//! own (a request a bidirectional one, on which its answer comes back; an answer to a small request
//! a unidirectional one).

use crate::seam::Lane;
use bytes::{Buf, Bytes, BytesMut};
use dunlin_types::limits::MESSAGE_BYTES_MAX;
use std::time::Duration;

/// Largest body on a stream that others share, bytes.
pub(super) const LANE_BODY_MAX: usize = 64 << 10;
/// Set in a stream's first byte when it carries one message only.
const OWN: u8 = 0x80;
const REQUEST_HEAD: usize = 12;
const ANSWER_HEAD: usize = 9;
/// Longest frame of a lane's stream, its length field excluded.
pub(super) const LANE_FRAME_MAX: usize = LANE_BODY_MAX + REQUEST_HEAD;
/// Longest content of a message's own stream.
pub(super) const OWN_STREAM_MAX: usize = MESSAGE_BYTES_MAX + REQUEST_HEAD + 4;

/// Bytes that are not frames: the stream, and with it the connection, is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame: {0}")]
pub(super) struct FrameError(&'static str);

/// What an answer says of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Handled; the body is the handler's.
    Answered = 0,
    /// Not handled: no handler yet.
    Refused = 1,
}

pub(super) struct Request {
    pub id: u64,
    pub timeout: Duration,
    pub body: Bytes,
}

pub(super) struct Answer {
    pub id: u64,
    pub status: Status,
    pub body: Bytes,
}

pub(super) fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Gossip => 0,
        Lane::Request => 1,
        Lane::Bulk => 2,
    }
}

pub(super) const LANES: [Lane; 3] = [Lane::Gossip, Lane::Request, Lane::Bulk];

/// Priority among the streams of a connection: higher goes first.
pub(super) fn priority(lane: Lane) -> i32 {
    match lane {
        Lane::Gossip => 10,
        Lane::Request => 0,
        Lane::Bulk => -10,
    }
}

/// The first byte of a stream.
pub(super) fn stream_kind(lane: Lane, own: bool) -> u8 {
    lane_index(lane) as u8 | if own { OWN } else { 0 }
}

/// Lane of a stream by its first byte, and whether it carries one message only.
pub(super) fn parse_stream_kind(byte: u8) -> Result<(Lane, bool), FrameError> {
    let lane = LANES.get(usize::from(byte & !OWN)).ok_or(FrameError("no such lane"))?;
    Ok((*lane, byte & OWN != 0))
}

/// Everything of a request but its body.
pub(super) fn request_head(id: u64, timeout: Duration, body_bytes: usize) -> [u8; 4 + REQUEST_HEAD] {
    let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let mut head = [0; 4 + REQUEST_HEAD];
    head[..4].copy_from_slice(&length_field(REQUEST_HEAD + body_bytes));
    head[4..12].copy_from_slice(&id.to_le_bytes());
    head[12..].copy_from_slice(&timeout_ms.to_le_bytes());
    head
}

/// Everything of an answer but its body.
pub(super) fn answer_head(id: u64, status: Status, body_bytes: usize) -> [u8; 4 + ANSWER_HEAD] {
    let mut head = [0; 4 + ANSWER_HEAD];
    head[..4].copy_from_slice(&length_field(ANSWER_HEAD + body_bytes));
    head[4..12].copy_from_slice(&id.to_le_bytes());
    head[12] = status as u8;
    head
}

fn length_field(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("bodies are limited to less than 4 GiB").to_le_bytes()
}

/// Takes the next whole frame off the front. Error as soon as its length is known to be too large,
/// before memory is set aside for it.
pub(super) fn split_frame(buffer: &mut BytesMut, length_max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(field) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*field) as usize;
    if length > length_max {
        return Err(FrameError("over the limit"));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// The one frame of a message's own stream, which was read to its end.
pub(super) fn only_frame(content: Vec<u8>) -> Result<Bytes, FrameError> {
    let mut buffer = BytesMut::from(Bytes::from(content));
    match split_frame(&mut buffer, OWN_STREAM_MAX)? {
        Some(frame) if buffer.is_empty() => Ok(frame),
        _ => Err(FrameError("a stream that is not one frame")),
    }
}

pub(super) fn parse_request(mut frame: Bytes) -> Result<Request, FrameError> {
    if frame.len() < REQUEST_HEAD {
        return Err(FrameError("a request cut short"));
    }
    let id = frame.get_u64_le();
    let timeout = Duration::from_millis(u64::from(frame.get_u32_le()));
    Ok(Request { id, timeout, body: frame })
}

pub(super) fn parse_answer(mut frame: Bytes) -> Result<Answer, FrameError> {
    if frame.len() < ANSWER_HEAD {
        return Err(FrameError("an answer cut short"));
    }
    let id = frame.get_u64_le();
    let status = match frame.get_u8() {
        0 => Status::Answered,
        1 => Status::Refused,
        _ => return Err(FrameError("an answer of unknown status")),
    };
    Ok(Answer { id, status, body: frame })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_split_at_any_byte() {
        let mut all = Vec::new();
        for (id, body) in [(1, &b"one"[..]), (2, b""), (u64::MAX, b"three")] {
            all.extend_from_slice(&request_head(id, Duration::from_millis(250), body.len()));
            all.extend_from_slice(body);
        }
        for cut in 0..all.len() {
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for part in [&all[..cut], &all[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(frame) = split_frame(&mut buffer, LANE_FRAME_MAX).unwrap() {
                    let request = parse_request(frame).unwrap();
                    assert_eq!(request.timeout, Duration::from_millis(250));
                    seen.push((request.id, request.body));
                }
            }
            assert!(buffer.is_empty());
            let expected = [(1, "one"), (2, ""), (u64::MAX, "three")];
            assert_eq!(seen, expected.map(|(id, body)| (id, Bytes::from(body))));
        }
    }

    #[test]
    fn answers_round_trip() {
        let mut content = answer_head(7, Status::Refused, 2).to_vec();
        content.extend_from_slice(b"no");
        let answer = parse_answer(only_frame(content).unwrap()).unwrap();
        assert_eq!((answer.id, answer.status, &answer.body[..]), (7, Status::Refused, &b"no"[..]));
    }

    #[test]
    fn refuses_malformed_frames() {
        let mut too_long = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert!(split_frame(&mut too_long, LANE_FRAME_MAX).is_err());
        assert!(only_frame(vec![1, 0, 0, 0]).is_err());
        assert!(only_frame(vec![0, 0, 0, 0, 9]).is_err());
        assert!(parse_request(Bytes::from_static(&[0; 11])).is_err());
        assert!(parse_answer(Bytes::from_static(&[0; 8])).is_err());
        assert!(parse_answer(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 2])).is_err());
        assert!(parse_stream_kind(3).is_err());
        assert_eq!(parse_stream_kind(0x82), Ok((Lane::Bulk, true)));
    }
}

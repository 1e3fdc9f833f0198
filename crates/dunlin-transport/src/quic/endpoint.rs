//! Socket, transport parameters and endpoint: every number of QUIC's that Dunlin sets.

use super::QuicError;
use crate::tls::TlsIdentity;
use quinn::congestion::CubicConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    AckFrequencyConfig, ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig,
    IdleTimeout, ServerConfig, TransportConfig, VarInt,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A connection that hears nothing is given up after this. Gossip finds a dead peer much earlier.
const IDLE_TIMEOUT_MS: u32 = 10_000;
/// The dialling side pings a quiet connection this often.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Assumed before the first measurement; the library's 333 ms would make a lost first packet cost a second.
const INITIAL_RTT: Duration = Duration::from_millis(20);
/// Of the UDP socket, each way: bulk transfer loses packets with the default.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Streams of each kind that a peer may have open: three lanes, and messages on streams of their own.
const STREAMS_MAX: u32 = 32;
/// Bytes that a peer may send ahead on one stream.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Of a whole connection: more than all its streams' windows together, so that no lane can hold up
/// another by filling it.
const CONNECTION_WINDOW_BYTES: u32 = 2 * STREAMS_MAX * STREAM_WINDOW_BYTES;
/// Handshakes that wait to be looked at.
const INCOMING_MAX: usize = 64;
/// Early packets kept for one handshake, and for all.
const INCOMING_BUFFER_BYTES: u64 = 64 << 10;
const INCOMING_BUFFERS_BYTES: u64 = 1 << 20;

pub(super) fn open(listen: SocketAddr, tls: &TlsIdentity) -> Result<Endpoint, QuicError> {
    let socket = socket(listen).map_err(|source| QuicError::Bind { listen, source })?;
    // Derived from the node's key, so that after a crash and restart peers are told at once, by
    // stateless resets, that their old connections are gone (RFC 9000 section 10.3).
    let mut config =
        EndpointConfig::new(Arc::new(ResetKey(tls.derive_key("dunlin 2025 stateless reset key"))));
    config.cid_generator(|| Box::new(RandomIds));
    let runtime = quinn::default_runtime().ok_or(QuicError::NoRuntime)?;
    Endpoint::new(config, Some(server_config(tls)?), socket, runtime)
        .map_err(|source| QuicError::Bind { listen, source })
}

pub(super) fn server_config(tls: &TlsIdentity) -> Result<ServerConfig, QuicError> {
    let mut config = ServerConfig::with_crypto(Arc::new(tls.server_config()?));
    config.migration(false);
    config.max_incoming(INCOMING_MAX);
    config.incoming_buffer_size(INCOMING_BUFFER_BYTES);
    config.incoming_buffer_size_total(INCOMING_BUFFERS_BYTES);
    config.transport_config(Arc::new(transport_config(None)));
    Ok(config)
}

pub(super) fn client_config(tls: &TlsIdentity) -> Result<ClientConfig, QuicError> {
    let mut config = ClientConfig::new(Arc::new(tls.client_config()?));
    config.transport_config(Arc::new(transport_config(Some(KEEP_ALIVE))));
    Ok(config)
}

fn transport_config(keep_alive: Option<Duration>) -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(10)).max_ack_delay(Some(Duration::from_millis(5)));
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(keep_alive)
        .initial_rtt(INITIAL_RTT)
        .ack_frequency_config(Some(acks))
        .congestion_controller_factory(Arc::new(CubicConfig::default()))
        .datagram_receive_buffer_size(None);
    config
}

fn socket(listen: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let domain = if listen.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    // As much as the operating system grants; less costs speed, not function.
    for result in
        [socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES), socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)]
    {
        if let Err(error) = result {
            tracing::debug!(%error, "socket buffers stay at their default");
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    Ok(socket.into())
}

/// Keyed BLAKE3 as the MAC of stateless reset tokens.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(blake3::keyed_hash(&self.0, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let signature: [u8; blake3::OUT_LEN] = signature.try_into().map_err(|_| CryptoError)?;
        // Comparing a hash takes constant time in this library.
        if blake3::keyed_hash(&self.0, data) == signature { Ok(()) } else { Err(CryptoError) }
    }
}

/// Connection ids of 8 random bytes. The library's own carry a check keyed by the process, which
/// would keep packets of an earlier process from being answered with a reset.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&super::random_u64().to_le_bytes())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

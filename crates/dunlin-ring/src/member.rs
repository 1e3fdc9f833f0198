//! A member of the cluster, as layouts know it.

use dunlin_types::HostId;
use dunlin_types::codec::{DecodeError, Reader, put_bytes, put_varint};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// A node that has joined or wants to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its identity.
    pub host: HostId,
    /// Its node name: the one in its certificate.
    pub name: String,
    /// The rack it stands in; names count within a data centre.
    pub rack: String,
    /// The data centre it stands in.
    pub data_center: String,
    /// Its share of the ring relative to the others; 0 takes none.
    pub weight: u32,
    /// Where it hears other nodes (UDP).
    pub internode: SocketAddr,
    /// Where it hears clients (TCP).
    pub client: SocketAddr,
    /// Where it hears operators (TCP).
    pub admin: SocketAddr,
}

impl Member {
    /// Appends the canonical bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.host.0);
        put_bytes(out, self.name.as_bytes());
        put_bytes(out, self.rack.as_bytes());
        put_bytes(out, self.data_center.as_bytes());
        put_varint(out, u64::from(self.weight));
        for address in [self.internode, self.client, self.admin] {
            put_address(out, address);
        }
    }

    /// Reads canonical bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Member, DecodeError> {
        Ok(Member {
            host: HostId(reader.array("member: host")?),
            name: read_text(reader, "member: name")?,
            rack: read_text(reader, "member: rack")?,
            data_center: read_text(reader, "member: data centre")?,
            weight: read_u32(reader, "member: weight")?,
            internode: read_address(reader)?,
            client: read_address(reader)?,
            admin: read_address(reader)?,
        })
    }
}

pub(crate) fn read_text(reader: &mut Reader<'_>, what: &'static str) -> Result<String, DecodeError> {
    let error = reader.error(what);
    let bytes = reader.bytes(what)?;
    std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| error)
}

pub(crate) fn read_u32(reader: &mut Reader<'_>, what: &'static str) -> Result<u32, DecodeError> {
    let error = reader.error(what);
    u32::try_from(reader.varint(what)?).map_err(|_| error)
}

/// Scope and flow of IPv6 are not kept: they mean nothing on another node.
fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => put_bytes(out, &ip.octets()),
        IpAddr::V6(ip) => put_bytes(out, &ip.octets()),
    }
    put_varint(out, u64::from(address.port()));
}

fn read_address(reader: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let error = reader.error("member: address");
    let bytes = reader.bytes("member: address")?;
    let ip = if let Ok(four) = <[u8; 4]>::try_from(&bytes[..]) {
        IpAddr::from(four)
    } else if let Ok(sixteen) = <[u8; 16]>::try_from(&bytes[..]) {
        IpAddr::from(sixteen)
    } else {
        return Err(error);
    };
    let port = u16::try_from(reader.varint("member: port")?).map_err(|_| error)?;
    Ok(SocketAddr::new(ip, port))
}

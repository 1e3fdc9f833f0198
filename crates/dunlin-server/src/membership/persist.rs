//! The folder `system/`: layouts and schema, each in one file that is replaced whole.
//!
//! A file is a line of text naming its kind and format, 16 bytes of BLAKE3 over the rest, and the rest:
//! the chain's canonical bytes, or the schema as JSON.

use bytes::Bytes;
use dunlin_ring::LayoutChain;
use dunlin_storage::fs::{Fs, create_dirs, read_file, replace_file};
use dunlin_types::schema::Schema;
use std::io;

const DIR: &str = "system";
const LAYOUTS: &str = "system/layouts";
const SCHEMA: &str = "system/schema";
const LAYOUTS_HEAD: &str = "dunlin layouts 1\n";
const SCHEMA_HEAD: &str = "dunlin schema 1\n";
const SUM_BYTES: usize = 16;

/// What the folder holds.
#[derive(Default)]
pub(crate) struct Saved {
    pub(crate) chain: Option<LayoutChain>,
    pub(crate) schema: Schema,
}

pub(crate) fn load(fs: &dyn Fs) -> io::Result<Saved> {
    create_dirs(fs, DIR)?;
    let chain = read(fs, LAYOUTS, LAYOUTS_HEAD)?;
    let chain = chain
        .map(|bytes| LayoutChain::decode(&bytes).map_err(|e| damaged(LAYOUTS, &e.to_string())))
        .transpose()?;
    let schema = read(fs, SCHEMA, SCHEMA_HEAD)?;
    let schema = schema
        .map(|bytes| serde_json::from_slice(&bytes).map_err(|e| damaged(SCHEMA, &e.to_string())))
        .transpose()?;
    Ok(Saved { chain, schema: schema.unwrap_or_default() })
}

pub(crate) fn save_chain(fs: &dyn Fs, chain: &LayoutChain) -> io::Result<()> {
    write(fs, LAYOUTS, LAYOUTS_HEAD, &chain.encode())
}

pub(crate) fn save_schema(fs: &dyn Fs, schema: &Schema) -> io::Result<()> {
    write(fs, SCHEMA, SCHEMA_HEAD, &schema_bytes(schema))
}

/// Equal schemas have equal bytes: every map in them is sorted.
pub(crate) fn schema_bytes(schema: &Schema) -> Vec<u8> {
    serde_json::to_vec(schema).expect("a schema has text keys only")
}

/// What gossip tells of the schema.
pub(crate) fn schema_digest(schema: &Schema) -> [u8; 16] {
    sum(&schema_bytes(schema))
}

fn sum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let hash = blake3::hash(bytes);
    hash.as_bytes()[..SUM_BYTES].try_into().expect("a BLAKE3 hash has 32 bytes")
}

fn damaged(file: &str, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} is damaged: {reason}"))
}

/// What a file holds, `None` if there is none.
pub(crate) fn read(fs: &dyn Fs, file: &str, head: &str) -> io::Result<Option<Bytes>> {
    let bytes = match read_file(fs, file) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !bytes.starts_with(head.as_bytes()) {
        return Err(damaged(file, "unknown format"));
    }
    let rest = bytes.slice(head.len()..);
    if rest.len() < SUM_BYTES || sum(&rest[SUM_BYTES..]) != rest[..SUM_BYTES] {
        return Err(damaged(file, "its checksum does not match"));
    }
    Ok(Some(rest.slice(SUM_BYTES..)))
}

/// Replaces a file; durable when this returns.
pub(crate) fn write(fs: &dyn Fs, file: &str, head: &str, content: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(head.len() + SUM_BYTES + content.len());
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(&sum(content));
    bytes.extend_from_slice(content);
    replace_file(fs, file, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_storage::fs::{MemFs, OpenMode};
    use dunlin_types::HostId;
    use dunlin_types::Micros;
    use dunlin_types::schema::{KeyspaceDef, Replication};

    #[test]
    fn the_schema_comes_back_and_damage_is_told() {
        let fs = MemFs::new();
        assert!(load(&fs).unwrap().chain.is_none());
        let mut schema = Schema::default();
        let keyspace = KeyspaceDef {
            name: "ks".into(),
            replication: Replication::NetworkTopology([("dc1".to_owned(), 3)].into()),
            sloppy_quorum: false,
            durable_writes: true,
        };
        schema.set_keyspace("ks", (Micros(1), HostId::from_words(1, 2)), Some(keyspace));
        save_schema(&fs, &schema).unwrap();
        assert_eq!(load(&fs).unwrap().schema, schema);
        fs.open(SCHEMA, OpenMode::Write).unwrap().write_at(60, b"!").unwrap();
        assert!(load(&fs).err().unwrap().to_string().contains("system/schema is damaged"));
    }

    #[test]
    fn tables_saved_before_compaction_could_be_chosen_are_leveled() {
        let stamp = (Micros(1), HostId::from_words(1, 2));
        let schema = crate::schema::default_schema(stamp, 7, 3);
        let new = String::from_utf8(schema_bytes(&schema)).unwrap();
        let old = new.replace(r#""compaction":"Leveled","#, "");
        assert_ne!(old, new);
        assert_eq!(serde_json::from_str::<Schema>(&old).unwrap(), schema);
    }
}

//! Reading a whole SSTable to find damage, in bounded steps.

use super::block::Block;
use super::filter::{Filter, FilterHash};
use super::footer::{FOOTER_BYTES, Footer};
use super::index::Index;
use super::part::Part;
use super::{FILTER, FOOTER, INDEX, SsTable, SstStatistics, unpacked};
use dunlin_types::{Token, TokenRange};
use std::sync::Arc;

/// Damages that are listed for one SSTable; one with more is beyond repair by hand anyway.
const DAMAGES_MAX: usize = 1000;

/// One thing that is wrong with an SSTable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SstDamage {
    /// Where in the file.
    pub(crate) offset: u64,
    /// Which part.
    pub(crate) what: &'static str,
    /// Tokens that cannot be read for it; `None`: all that is stored can be read.
    pub(crate) range: Option<TokenRange>,
}

/// Checks footer, index, filter and every block, as they are in the file now: checksums, order, that index,
/// filter and statistics agree with the entries.
pub(crate) struct SstVerifier {
    table: Arc<SsTable>,
    index: Option<Index>,
    filter: Option<Filter>,
    started: bool,
    next: usize,
    /// Of the entries read.
    statistics: SstStatistics,
    last: Option<(Token, Vec<u8>)>,
    damages: Vec<SstDamage>,
}

impl SstVerifier {
    pub(crate) fn new(table: Arc<SsTable>) -> SstVerifier {
        SstVerifier {
            table,
            index: None,
            filter: None,
            started: false,
            next: 0,
            statistics: SstStatistics::new(),
            last: None,
            damages: Vec::new(),
        }
    }

    /// Reads on for about so many bytes; returns how many were read, zero at the end.
    pub(crate) fn step(&mut self, bytes: u64) -> u64 {
        let mut done = 0;
        if !self.started {
            self.started = true;
            done += self.check_parts();
        }
        let blocks = self.index.as_ref().map_or(0, Index::blocks);
        while done < bytes.max(1) && self.next < blocks {
            done += self.check_block(self.next);
            self.next += 1;
            if self.next == blocks && self.damages.is_empty() && self.statistics != self.table.statistics {
                self.add(self.footer_at(), "SSTable statistics", None);
            }
        }
        done
    }

    /// What was found so far, in the order of reading.
    pub(crate) fn damages(&self) -> &[SstDamage] {
        &self.damages
    }

    fn footer_at(&self) -> u64 {
        self.table.file_bytes.saturating_sub(FOOTER_BYTES as u64)
    }

    fn add(&mut self, offset: u64, what: &'static str, range: Option<TokenRange>) {
        self.table.damage(offset, what);
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(SstDamage { offset, what, range });
        }
    }

    fn check_parts(&mut self) -> u64 {
        let table = self.table.clone();
        let all = TokenRange { first: table.statistics.first, last: table.statistics.last };
        let mut bytes = [0; FOOTER_BYTES];
        let read = table.read_at(self.footer_at(), &mut bytes).ok();
        let footer = read.and_then(|()| Footer::decode(&bytes, &table.path, self.footer_at()).ok());
        if footer.is_none() || footer != table.footer {
            self.add(self.footer_at(), FOOTER, table.footer.is_none().then_some(all));
        }
        // What was read when the file was opened still serves.
        let Some(footer) = table.footer else { return FOOTER_BYTES as u64 };
        let decode = |raw: &[u8]| Index::decode(raw, footer.index.offset);
        self.index = table.read_part(footer.index, INDEX, decode).unwrap_or_default();
        if self.index.is_none() {
            self.add(footer.index.offset, INDEX, Some(all));
        }
        self.filter = table.read_part(footer.filter, FILTER, Filter::decode).unwrap_or_default();
        if self.filter.is_none() {
            self.add(footer.filter.offset, FILTER, None);
        }
        FOOTER_BYTES as u64 + footer.index.bytes + footer.filter.bytes
    }

    fn check_block(&mut self, number: usize) -> u64 {
        let Some((offset, length)) = self.index.as_ref().and_then(|index| index.place(number)) else {
            return 0;
        };
        let mut bytes = vec![0; length];
        let raw = self.table.read_at(offset, &mut bytes).ok().and_then(|()| {
            let part = Part::check(&bytes, self.table.salt(), offset)?;
            if let Some(plain) = part.plain() { Some(Arc::from(plain)) } else { unpacked(&part) }
        });
        if raw.and_then(|raw: Arc<[u8]>| self.check_entries(number, &raw)).is_none() {
            let range = self.table.block_range(number);
            self.add(offset, "SSTable block", Some(range));
        }
        length as u64
    }

    /// `None` if the block is not what index, filter and the blocks before it say.
    fn check_entries(&mut self, number: usize, raw: &[u8]) -> Option<()> {
        let block = Block::check(raw)?;
        for i in 0..block.count() {
            let place = block.entry(i)?;
            let key = [block.prefix(), &raw[place.suffix..place.record]].concat();
            let expected = self.index.as_ref().and_then(|index| index.first(number));
            let filtered = self.filter.as_ref().is_some_and(|f| !f.may_hold(FilterHash::new(place.token)));
            let behind = self.last.as_ref().is_none_or(|(token, key_before)| {
                // All entries of one token are in one block.
                *token < place.token || (i > 0 && *token == place.token && *key_before < key)
            });
            if (i == 0 && expected != Some(place.token)) || filtered || !behind {
                return None;
            }
            self.statistics.add(place.token, &key, &raw[place.record..place.end]).ok()?;
            self.last = Some((place.token, key));
        }
        Some(())
    }
}

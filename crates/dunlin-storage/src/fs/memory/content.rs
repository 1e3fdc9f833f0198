//! The bytes of one simulated file: what reads see, what the disk holds, and what lies between.

use super::faults::Chance;

/// Unit in which a disk writes: whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// Invariant: without a failed sync, `cache` is `durable` with all of `pending` applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// What reads see.
    cache: Vec<u8>,
    /// What is on the disk for certain.
    durable: Vec<u8>,
    /// Changes since the last sync, in order.
    pending: Vec<Change>,
}

/// How much of the unsynced changes a crash keeps.
#[derive(Clone, Copy)]
enum Survival {
    None,
    All,
    /// All changes up to one, of which a prefix of sectors.
    Prefix {
        whole: usize,
    },
    /// Any sectors of any change.
    Sectors,
}

impl Content {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.cache
    }

    /// Whether a crash could lose anything.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        apply(&mut self.cache, offset, bytes);
        self.pending.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(crate) fn set_length(&mut self, length: usize) {
        self.cache.resize(length, 0);
        self.pending.push(Change::Length(length));
    }

    pub(crate) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { offset, bytes } => apply(&mut self.durable, offset, &bytes),
                Change::Length(length) => self.durable.resize(length, 0),
            }
        }
    }

    /// Makes the last write durable, alone: other writes stay as they are.
    pub(crate) fn sync_last(&mut self) {
        if self.pending.iter().any(|change| matches!(change, Change::Length(_))) {
            // The length of a file comes with its journal, and that with all that was written before.
            return self.sync();
        }
        let Some(Change::Write { offset, bytes }) = self.pending.pop() else { return };
        apply(&mut self.durable, offset, &bytes);
        // Earlier writes of the same bytes must not come after it.
        for change in &mut self.pending {
            let Change::Write { offset: earlier, bytes: old } = change else { continue };
            let from = offset.max(*earlier);
            let to = (offset + bytes.len()).min(*earlier + old.len());
            if from < to {
                old[from - *earlier..to - *earlier].copy_from_slice(&bytes[from - offset..to - offset]);
            }
        }
    }

    /// The last write, a direct one, failed: an allowed part of it reached the disk, and that is what reads see.
    pub(crate) fn fail_last(&mut self, chance: &mut Chance) -> u64 {
        let others = self.pending.len().saturating_sub(1);
        let last = self.pending.split_off(others);
        let rest = std::mem::replace(&mut self.pending, last);
        let lost = self.settle(chance);
        self.pending = rest;
        self.drop_cache();
        lost
    }

    /// The Linux meaning of a failed sync: the pages are clean afterwards, whether they were written or not.
    /// Returns how many changes did not reach the disk whole.
    pub(crate) fn fail_sync(&mut self, chance: &mut Chance) -> u64 {
        self.settle(chance)
    }

    /// The power goes: an allowed part of the unsynced changes survives. Returns how many did not whole.
    pub(crate) fn crash(&mut self, chance: &mut Chance) -> u64 {
        let lost = self.settle(chance);
        self.cache.clone_from(&self.durable);
        lost
    }

    /// Clean pages are forgotten and read from the disk again.
    pub(crate) fn drop_cache(&mut self) {
        self.cache.clone_from(&self.durable);
        for change in &self.pending {
            match change {
                Change::Write { offset, bytes } => apply(&mut self.cache, *offset, bytes),
                Change::Length(length) => self.cache.resize(*length, 0),
            }
        }
    }

    /// Damages the medium. False beyond the end.
    pub(crate) fn flip_bit(&mut self, offset: usize, bit: u8) -> bool {
        let mask = 1u8 << (bit % 8);
        if let Some(byte) = self.durable.get_mut(offset) {
            *byte ^= mask;
        }
        self.cache.get_mut(offset).map(|byte| *byte ^= mask).is_some()
    }

    fn settle(&mut self, chance: &mut Chance) -> u64 {
        let pending = std::mem::take(&mut self.pending);
        let survival = match chance.below(5) {
            0 => Survival::None,
            1 => Survival::All,
            2 | 3 => Survival::Prefix { whole: chance.below(pending.len() as u64 + 1) as usize },
            _ => Survival::Sectors,
        };
        let mut lost = 0;
        for (i, change) in pending.iter().enumerate() {
            lost += u64::from(!self.survive(i, change, survival, chance));
        }
        lost
    }

    /// Applies what survives of a change; false unless all of it did.
    fn survive(&mut self, i: usize, change: &Change, survival: Survival, chance: &mut Chance) -> bool {
        let (offset, bytes) = match change {
            Change::Length(length) => {
                let kept = match survival {
                    Survival::None => false,
                    Survival::All => true,
                    Survival::Prefix { whole } => i < whole,
                    Survival::Sectors => chance.coin(),
                };
                if kept {
                    self.durable.resize(*length, 0);
                }
                return kept;
            }
            Change::Write { offset, bytes } => (*offset, bytes),
        };
        let sectors = sectors(offset, bytes.len());
        let torn_at = match survival {
            Survival::Prefix { whole } if i == whole => chance.below(sectors.len() as u64 + 1) as usize,
            Survival::Prefix { whole } if i > whole => 0,
            Survival::None => 0,
            _ => sectors.len(),
        };
        let mut whole = true;
        for (n, (from, to)) in sectors.into_iter().enumerate() {
            let kept = n < torn_at && (!matches!(survival, Survival::Sectors) || chance.coin());
            if kept {
                apply(&mut self.durable, offset + from, &bytes[from..to]);
            } else if matches!(survival, Survival::Sectors) && chance.coin() {
                // The length reached the disk, the bytes did not: a hole of zeros.
                let length = self.durable.len().max(offset + to);
                self.durable.resize(length, 0);
            }
            whole &= kept;
        }
        whole
    }
}

fn apply(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

/// Cuts a write at the sector borders of the file: (from, to) within the write.
fn sectors(offset: usize, length: usize) -> Vec<(usize, usize)> {
    let mut parts = Vec::new();
    let mut from = 0;
    while from < length {
        let to = (SECTOR_BYTES - (offset + from) % SECTOR_BYTES + from).min(length);
        parts.push((from, to));
        from = to;
    }
    parts
}

//! Memory for direct writes.

/// Growing bytes whose first one stands at a multiple of [`AlignedBuffer::ALIGNMENT`] in memory.
#[derive(Debug)]
pub struct AlignedBuffer {
    /// Invariant: `memory[start..]` are the bytes, and `start` is where the alignment begins.
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    /// Enough for every disk that is known: the size of a page.
    pub const ALIGNMENT: usize = 4096;

    /// An empty buffer; takes no memory yet.
    pub fn new() -> AlignedBuffer {
        AlignedBuffer { memory: Vec::new(), start: 0 }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory it occupies.
    pub fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// Forgets the bytes, keeps the memory.
    pub fn clear(&mut self) {
        self.memory.truncate(self.start);
    }

    /// The vector to append up to `more` bytes to. Appending more would move the bytes and lose the alignment.
    pub fn room(&mut self, more: usize) -> &mut Vec<u8> {
        if self.memory.capacity() - self.memory.len() < more {
            self.grow(more);
        }
        &mut self.memory
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).extend_from_slice(bytes);
    }

    /// Cuts, or grows with zeros.
    pub fn resize(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.len());
        let start = self.start;
        let memory = self.room(more);
        // `room` may have moved the start.
        if more == 0 {
            memory.truncate(start + bytes);
        } else {
            let end = memory.len() + more;
            memory.resize(end, 0);
        }
    }

    fn grow(&mut self, more: usize) {
        let bytes = (self.len() + more).max(2 * self.len());
        let mut memory: Vec<u8> = Vec::with_capacity(bytes + AlignedBuffer::ALIGNMENT);
        let start = memory.as_ptr().addr().wrapping_neg() & (AlignedBuffer::ALIGNMENT - 1);
        memory.resize(start, 0);
        memory.extend_from_slice(self);
        *self = AlignedBuffer { memory, start };
    }
}

impl Default for AlignedBuffer {
    fn default() -> AlignedBuffer {
        AlignedBuffer::new()
    }
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::AlignedBuffer;

    #[test]
    fn bytes_stay_aligned_while_they_grow() {
        let mut buffer = AlignedBuffer::new();
        let mut expected = Vec::new();
        for n in 1..3_000usize {
            let part = vec![n as u8; n % 90];
            buffer.extend_from_slice(&part);
            expected.extend_from_slice(&part);
            assert!(buffer.as_ptr().addr().is_multiple_of(AlignedBuffer::ALIGNMENT));
        }
        assert_eq!(&*buffer, expected);
        buffer.resize(200_000);
        expected.resize(200_000, 0);
        assert_eq!(&*buffer, expected);
        assert!(buffer.as_ptr().addr().is_multiple_of(AlignedBuffer::ALIGNMENT));
        let capacity = buffer.capacity();
        buffer.resize(10);
        assert_eq!(&*buffer, &expected[..10]);
        buffer.clear();
        assert!(buffer.is_empty());
        buffer.resize(100_000);
        assert_eq!((buffer.len(), buffer.capacity()), (100_000, capacity));
        assert!(buffer.iter().all(|&byte| byte == 0));
    }
}

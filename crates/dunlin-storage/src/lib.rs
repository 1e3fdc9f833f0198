//! The engine of one node: commit log, memtable, SSTables, compaction, over the Fs seam.

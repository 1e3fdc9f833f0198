use super::leveled::targets;
use super::*;

fn options() -> CompactionOptions {
    CompactionOptions {
        level0_min: 4,
        level0_percent: 25,
        level_base_bytes: 100,
        level_factor: 10,
        file_bytes: 100,
        inputs_min: 4,
        inputs_max: 6,
        small_bytes: 50,
        purge_percent: 20,
        ..CompactionOptions::default()
    }
}

/// An SSTable of a level with so many bytes, between two tokens.
fn sst(sequence: u64, level: u8, bytes: u64, first: u64, last: u64) -> Candidate {
    Candidate {
        sequence,
        level,
        bytes,
        first: Token(first),
        last: Token(last),
        entries: 100,
        purgeable: 0,
        damaged: false,
        busy: false,
    }
}

/// So many SSTables of level 0 over all tokens.
fn flushed(count: u64, bytes: u64) -> Vec<Candidate> {
    (0..count).map(|i| sst(i, 0, bytes, i, 1_000 - i)).collect()
}

fn busy(candidate: Candidate) -> Candidate {
    Candidate { busy: true, ..candidate }
}

fn check(
    what: &str,
    strategy: Strategy,
    candidates: &[Candidate],
    expected: Option<(&[u64], u8, Why, bool)>,
) {
    let expected = expected.map(|(inputs, output_level, why, moves)| Choice {
        inputs: inputs.to_vec(),
        output_level,
        why,
        moves,
    });
    assert_eq!(choose(candidates, strategy, &options()), expected, "{what}");
    // The order in which SSTables are listed does not matter.
    let mut turned = candidates.to_vec();
    turned.reverse();
    assert_eq!(choose(&turned, strategy, &options()), expected, "{what}, turned");
}

#[test]
fn level_0_goes_to_the_deepest_level_at_first() {
    let check =
        |what, candidates: &[Candidate], expected| check(what, Strategy::Leveled, candidates, expected);
    check("nothing", &[], None);
    check("too few", &flushed(3, 60), None);
    check("due", &flushed(4, 60), Some((&[0, 1, 2, 3], 6, Why::Level0, false)));
    let apart: Vec<_> = (0..4).map(|i| sst(i, 0, 60, i * 10, i * 10 + 9)).collect();
    check("apart", &apart, Some((&[0, 1, 2, 3], 6, Why::Level0, true)));
    let mut some_busy = flushed(5, 60);
    some_busy[0].busy = true;
    check("those that are free", &some_busy, Some((&[1, 2, 3, 4], 6, Why::Level0, false)));
    some_busy[1].damaged = true;
    check("too few are free and sound", &some_busy, None);
}

#[test]
fn level_0_takes_along_what_it_overlaps() {
    let check = |what, more: &[Candidate], expected| {
        let level0 = (0..4).map(|i| sst(i, 0, 60, 100, 500));
        let candidates: Vec<_> = level0.chain(more.iter().copied()).collect();
        check(what, Strategy::Leveled, &candidates, expected)
    };
    let below =
        [sst(10, 6, 90, 0, 99), sst(11, 6, 90, 100, 300), sst(12, 6, 90, 500, 600), sst(13, 6, 90, 601, 700)];
    check("what meets", &below, Some((&[0, 1, 2, 3, 11, 12], 6, Why::Level0, false)));
    let waiting = [below[0], below[1], busy(below[2]), below[3]];
    check("one of them is busy", &waiting, None);
    let elsewhere = [below[0], below[1], below[2], busy(below[3])];
    check("another is busy", &elsewhere, Some((&[0, 1, 2, 3, 11, 12], 6, Why::Level0, false)));
    // 240 bytes are less than a quarter of 990.
    let much: Vec<_> = (0..11).map(|i| sst(10 + i, 6, 90, 100 + i * 20, 110 + i * 20)).collect();
    check("little over much", &much, Some((&[0, 1, 2, 3], 0, Why::Level0Small, false)));
}

#[test]
fn little_of_all_sizes_waits_until_it_is_twice_too_many() {
    let options = CompactionOptions { level_base_bytes: 1_000_000, ..options() };
    let sizes = [60, 150, 400, 900, 2_000, 4_500, 9_500];
    let mut candidates: Vec<_> = (0..7).map(|i| sst(i, 0, sizes[i as usize], 0, 1_000)).collect();
    candidates.extend((0..1_000).map(|i| sst(100 + i, 6, 900, i, i)));
    assert_eq!(choose(&candidates, Strategy::Leveled, &options), None, "no two alike");
    candidates.push(sst(7, 0, 21_000, 0, 1_000));
    let choice = choose(&candidates, Strategy::Leveled, &options).expect("due");
    assert_eq!((choice.inputs.len(), choice.output_level, choice.why), (1_008, 6, Why::Level0));
}

#[test]
fn levels_grow_with_the_data() {
    let check = |deepest, base, expected: &[u64]| {
        let targets = targets(&[7, 0, 0, 0, 0, 0, deepest], &options());
        assert_eq!(targets.base, base, "{deepest}");
        let sizes: Vec<u64> = targets.bytes[usize::from(base)..6].to_vec();
        assert_eq!(sizes, expected, "{deepest}");
        assert!(targets.bytes[..usize::from(base)].iter().all(|&t| t == 0));
    };
    check(0, 6, &[]);
    check(1_000, 6, &[]);
    check(1_600, 5, &[400]);
    check(10_000, 5, &[1_000]);
    check(12_500, 4, &[500, 2_500]);
    check(u64::MAX, 1, &targets(&[0, 0, 0, 0, 0, 0, u64::MAX], &options()).bytes[1..6]);
}

#[test]
fn full_levels_give_what_is_cheapest() {
    // The deepest level holds 2000: the one above it should hold 447.
    let deep: Vec<_> = (0..20).map(|i| sst(100 + i, 6, 100, i * 50, i * 50 + 49)).collect();
    let check = |what, above: &[Candidate], expected| {
        let candidates: Vec<_> = deep.iter().chain(above).copied().collect();
        check(what, Strategy::Leveled, &candidates, expected)
    };
    check("full enough", &[sst(1, 5, 400, 0, 999)], None);
    let two = [sst(1, 5, 300, 0, 199), sst(2, 5, 300, 200, 299)];
    check("fewest below", &two, Some((&[2, 104, 105], 6, Why::LevelFull(5), false)));
    let blocked = [two[0], busy(two[1])];
    check("the other one", &blocked, Some((&[1, 100, 101, 102, 103], 6, Why::LevelFull(5), false)));
    let beyond = [sst(1, 5, 300, 0, 199), sst(2, 5, 300, 1_000, 1_099)];
    check("over nothing", &beyond, Some((&[2], 6, Why::LevelFull(5), true)));
    let nested = [sst(1, 5, 340, 10, 20), sst(2, 5, 50, 25, 30), sst(3, 5, 100, 45, 60)];
    check("with a neighbour", &nested, Some((&[1, 2, 100], 6, Why::LevelFull(5), false)));
    let left_over = [sst(1, 3, 10, 0, 49)];
    check("a level that should be empty", &left_over, Some((&[1], 5, Why::LevelFull(3), true)));
}

/// What a merge under way will put out is in the way of others.
#[test]
fn outputs_to_come_are_not_overlapped() {
    let coming = busy(sst(u64::MAX, 6, 0, 400, 2_000));
    let mut candidates = flushed(4, 60);
    candidates.push(coming);
    check("level 0", Strategy::Leveled, &candidates, None);
    let beyond = busy(sst(u64::MAX, 6, 0, 2_000, 3_000));
    candidates[4] = beyond;
    check("elsewhere", Strategy::Leveled, &candidates, Some((&[0, 1, 2, 3], 6, Why::Level0, false)));
}

#[test]
fn damaged_ones_step_aside() {
    let damaged = |sequence, level| Candidate { damaged: true, ..sst(sequence, level, 90, 0, 999) };
    let mut candidates = flushed(4, 60);
    candidates.extend([damaged(9, 6)]);
    check("to level 0", Strategy::Leveled, &candidates, Some((&[9], 0, Why::Damaged, true)));
    candidates[4] = damaged(9, 0);
    check("and are left out", Strategy::Leveled, &candidates, Some((&[0, 1, 2, 3], 6, Why::Level0, false)));
}

#[test]
fn what_may_be_forgotten_is_a_reason() {
    let old = |sequence, level, purgeable, first, last| Candidate {
        purgeable,
        ..sst(sequence, level, 90, first, last)
    };
    let check_both = |what, candidates: &[Candidate], leveled, tiered| {
        check(what, Strategy::Leveled, candidates, leveled);
        check(what, Strategy::Tiered, candidates, tiered);
    };
    let alone = |sequence: &'static [u64], level| Some((sequence, level, Why::Purge, false));
    check_both("too few", &[old(1, 6, 19, 0, 9)], None, None);
    check_both("in the deepest level", &[old(1, 6, 20, 0, 9)], alone(&[1], 6), alone(&[1], 0));
    check_both("most first", &[old(1, 6, 20, 0, 9), old(2, 6, 90, 10, 19)], alone(&[2], 6), alone(&[2], 0));
    // So much that there are two levels.
    let two = [old(1, 5, 50, 0, 9), sst(2, 6, 90, 5, 20), sst(3, 6, 2_000, 100, 200)];
    check_both("with what it covers", &two, alone(&[1, 2], 6), alone(&[1], 0));
    check_both("what it covers is busy", &[two[0], busy(two[1]), two[2]], None, alone(&[1], 0));
    check_both("busy", &[busy(old(1, 6, 100, 0, 9))], None, None);
}

#[test]
fn full_tiers_are_merged_smallest_first() {
    let check = |sizes: &[u64], expected: Option<&[u64]>| {
        let candidates: Vec<_> =
            (0..).zip(sizes).map(|(i, &bytes)| sst(i, (i % 3) as u8, bytes, 0, 9)).collect();
        let expected = expected.map(|inputs| (inputs, 0, Why::Tier, false));
        check(&format!("{sizes:?}"), Strategy::Tiered, &candidates, expected);
    };
    check(&[], None);
    check(&[10, 20, 30], None);
    check(&[10, 20, 30, 50], Some(&[0, 1, 2, 3]));
    check(&[10, 20, 30, 51], None);
    check(&[1000, 10, 1100, 1200, 30, 2000], Some(&[0, 2, 3, 5]));
    check(&[1000, 10, 1100, 1200, 30, 2001], None);
    check(&[9000, 9000, 9000, 9000, 5, 5, 5, 5], Some(&[4, 5, 6, 7]));
    check(&[7, 6, 5, 4, 3, 2, 1], Some(&[1, 2, 3, 4, 5, 6]));
    check(&[1000, 2100, 4500, 9300, 20_000], None);
}

#[test]
fn tiers_are_merged_before_writes_are_refused() {
    let options = CompactionOptions { level0_max: 8, ..options() };
    let mut candidates: Vec<_> = (0..5).map(|i| sst(i, 0, 100 << (2 * i), 0, 9)).collect();
    assert_eq!(choose(&candidates, Strategy::Tiered, &options), None);
    candidates.push(sst(5, 0, 1_000_000, 0, 9));
    let inputs = choose(&candidates, Strategy::Tiered, &options).map(|choice| choice.inputs);
    assert_eq!(inputs, Some(vec![0, 1, 2, 3]));
}

/// Whatever the sizes, merging as chosen ends, and leaves levels that are disjoint and not too large.
#[test]
fn choices_come_to_an_end() {
    let mut seed = 7u64;
    let mut below = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    for strategy in [Strategy::Leveled, Strategy::Tiered] {
        let (mut tables, mut sequence, mut merges) = (Vec::<Candidate>::new(), 0, 0u32);
        for _ in 0..300 {
            sequence += 1;
            let first = below(500);
            tables.push(sst(sequence, 0, 20 + below(200), first, first + 1 + below(500)));
            while let Some(choice) = choose(&tables, strategy, &options()) {
                merges += 1;
                assert!(merges < 10_000, "it goes on for ever");
                assert!(!choice.inputs.is_empty());
                let (inputs, rest): (Vec<_>, Vec<_>) =
                    tables.into_iter().partition(|c| choice.inputs.contains(&c.sequence));
                assert_eq!(inputs.len(), choice.inputs.len());
                tables = rest;
                if choice.moves {
                    tables.extend(inputs.iter().map(|c| Candidate { level: choice.output_level, ..*c }));
                } else {
                    sequence += 1;
                    let first = inputs.iter().map(|c| c.first).min().expect("some");
                    let last = inputs.iter().map(|c| c.last).max().expect("some");
                    // Overwritten keys go, as far as there is room for different ones.
                    let bytes: u64 = inputs.iter().map(|c| c.bytes).sum();
                    let output = sst(
                        sequence,
                        choice.output_level,
                        bytes.min((last.0 - first.0) * 8),
                        first.0,
                        last.0,
                    );
                    tables.push(output);
                }
                for level in 1..=LEVEL_MAX {
                    let mut here: Vec<_> = tables.iter().filter(|c| c.level == level).collect();
                    here.sort_by_key(|c| c.first);
                    assert!(here.windows(2).all(|p| p[0].last < p[1].first), "level {level} overlaps");
                }
            }
            assert!(tables.len() < 40);
        }
        assert_eq!(pending_bytes(&tables, strategy, &options()), 0);
        assert!(merges > 30);
    }
}

#[test]
fn pending_counts_what_would_be_merged() {
    let mut candidates = flushed(4, 60);
    candidates.push(sst(10, 6, 90, 0, 500));
    assert_eq!(pending_bytes(&candidates, Strategy::Leveled, &options()), 330);
    assert_eq!(pending_bytes(&candidates[1..], Strategy::Leveled, &options()), 0);
    assert_eq!(pending_bytes(&candidates, Strategy::Tiered, &options()), 330);
}

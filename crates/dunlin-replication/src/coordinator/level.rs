//! What a consistency level asks for, as sets of replicas and how many of each must answer.

use dunlin_types::Consistency;
use dunlin_types::consistency::majority;
use dunlin_types::schema::Replication;
use smallvec::SmallVec;

/// A set of replicas of one request, by their index in its list.
pub type Mask = u128;

/// Most replicas that one request can have: every layout's owners in every data centre together.
pub const REPLICAS_MAX: usize = 128;

/// So many of these replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// The replicas that count.
    pub members: Mask,
    /// How many of them.
    pub required: u32,
}

/// All of them have to be met.
pub type Needs = SmallVec<[Need; 2]>;

/// The replicas a level is worked out for.
pub struct Candidates<'a> {
    /// The owners under each layout that counts, oldest layout first.
    pub layouts: &'a [Mask],
    /// Data centre of each replica, by index.
    pub data_centers: &'a [&'a str],
    /// The coordinator's own data centre.
    pub local: &'a str,
    /// The keyspace's replication.
    pub replication: &'a Replication,
}

impl Candidates<'_> {
    /// What `level` needs: for every layout one need, or one for each data centre.
    ///
    /// A need may be larger than its set (a young cluster with fewer nodes than replicas, a data
    /// centre without any): it can then not be met, and the request is UNAVAILABLE.
    pub fn needs(&self, level: Consistency) -> Needs {
        let mut needs = Needs::new();
        for &members in self.layouts {
            match level {
                Consistency::Any | Consistency::One => needs.push(Need { members, required: 1 }),
                Consistency::Two => needs.push(Need { members, required: 2 }),
                Consistency::Three => needs.push(Need { members, required: 3 }),
                Consistency::Quorum => {
                    needs.push(Need { members, required: majority(factor_sum(self.replication)) as u32 });
                }
                Consistency::All => {
                    needs.push(Need { members, required: factor_sum(self.replication) as u32 })
                }
                Consistency::LocalOne => {
                    needs.push(Need { members: members & self.within(self.local), required: 1 });
                }
                Consistency::LocalQuorum => needs.push(self.quorum_within(members, self.local)),
                Consistency::EachQuorum => self.each_quorum(members, &mut needs),
            }
        }
        needs
    }

    fn within(&self, data_center: &str) -> Mask {
        let indexed = self.data_centers.iter().enumerate();
        indexed.filter(|(_, name)| **name == data_center).fold(0, |mask, (i, _)| mask | 1 << i)
    }

    fn quorum_within(&self, members: Mask, data_center: &str) -> Need {
        let members = members & self.within(data_center);
        let factor = match self.replication {
            Replication::Simple(_) => members.count_ones() as usize,
            Replication::NetworkTopology(factors) => factors.get(data_center).map_or(0, |n| *n as usize),
        };
        Need { members, required: majority(factor) as u32 }
    }

    fn each_quorum(&self, members: Mask, needs: &mut Needs) {
        match self.replication {
            Replication::NetworkTopology(factors) => {
                for (name, _) in factors.iter().filter(|(_, factor)| **factor > 0) {
                    needs.push(self.quorum_within(members, name));
                }
            }
            Replication::Simple(_) => {
                let mut names: SmallVec<[&str; 4]> = SmallVec::new();
                for (i, name) in self.data_centers.iter().enumerate() {
                    if members & 1 << i != 0 && !names.contains(name) {
                        names.push(name);
                        needs.push(self.quorum_within(members, name));
                    }
                }
            }
        }
        if needs.is_empty() {
            needs.push(Need { members, required: 1 });
        }
    }
}

/// Replicas of a keyspace over all data centres.
pub fn factor_sum(replication: &Replication) -> usize {
    match replication {
        Replication::Simple(factor) => *factor as usize,
        Replication::NetworkTopology(factors) => factors.values().map(|n| *n as usize).sum(),
    }
}

/// Whether a level counts replicas in the coordinator's own data centre only.
pub fn is_local(level: Consistency) -> bool {
    matches!(level, Consistency::LocalOne | Consistency::LocalQuorum)
}

/// Whether a level's reads are monotonic, so that the answer waits for the repairs it needs and every
/// active layout has to agree.
pub fn is_strong(level: Consistency) -> bool {
    !matches!(level, Consistency::Any | Consistency::One | Consistency::LocalOne)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn check(
        replication: &Replication,
        data_centers: &[&str],
        layouts: &[Mask],
        level: Consistency,
        expected: &[(Mask, u32)],
    ) {
        let candidates = Candidates { layouts, data_centers, local: "a", replication };
        let needs = candidates.needs(level);
        let found: Vec<(Mask, u32)> = needs.iter().map(|n| (n.members, n.required)).collect();
        assert_eq!(found, expected, "{level} of {replication:?} over {data_centers:?}");
    }

    #[test]
    fn levels_follow_the_table() {
        let simple = Replication::Simple(3);
        let one = &[0b111];
        check(&simple, &["a"; 3], one, Consistency::Any, &[(0b111, 1)]);
        check(&simple, &["a"; 3], one, Consistency::One, &[(0b111, 1)]);
        check(&simple, &["a"; 3], one, Consistency::Two, &[(0b111, 2)]);
        check(&simple, &["a"; 3], one, Consistency::Three, &[(0b111, 3)]);
        check(&simple, &["a"; 3], one, Consistency::Quorum, &[(0b111, 2)]);
        check(&simple, &["a"; 3], one, Consistency::All, &[(0b111, 3)]);
        check(&simple, &["a"; 4], &[0b0111, 0b1110], Consistency::Quorum, &[(0b0111, 2), (0b1110, 2)]);
        check(&Replication::Simple(5), &["a"; 2], &[0b11], Consistency::Quorum, &[(0b11, 3)]);
    }

    #[test]
    fn local_levels_count_one_data_center() {
        let topology =
            Replication::NetworkTopology(BTreeMap::from([("a".into(), 3), ("b".into(), 2), ("c".into(), 0)]));
        let names = &["a", "a", "a", "b", "b"];
        let all = &[0b11111];
        check(&topology, names, all, Consistency::Quorum, &[(0b11111, 3)]);
        check(&topology, names, all, Consistency::All, &[(0b11111, 5)]);
        check(&topology, names, all, Consistency::LocalOne, &[(0b111, 1)]);
        check(&topology, names, all, Consistency::LocalQuorum, &[(0b111, 2)]);
        check(&topology, names, all, Consistency::EachQuorum, &[(0b111, 2), (0b11000, 2)]);
        check(&topology, &["b", "b"], &[0b11], Consistency::LocalOne, &[(0, 1)]);
        check(
            &Replication::Simple(3),
            &["b", "a", "b"],
            &[0b111],
            Consistency::EachQuorum,
            &[(0b101, 2), (0b010, 1)],
        );
    }
}

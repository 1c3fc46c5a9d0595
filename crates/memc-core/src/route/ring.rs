//! Consistent hashing: points of all servers on a ring, and a key belongs to the point at or behind its hash.

use crate::route::hash::{md5_words, one_at_a_time};

/// How many hashes, of four points each, a server has on a ring by weights, if all weigh the same.
const HASHES: f32 = 40.0;

/// How many points, of one hash each, a server has on a ring without weights.
const PLAIN_POINTS: u32 = 100;

/// The points of all servers, in order.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    /// Point and server. Of servers with one and the same point the first has it, as in libmemcached.
    points: Vec<(u32, u32)>,
    /// For the first bits of a hash, the first point that it may have: from there it is a step or two.
    starts: Vec<u32>,
}

/// How many bits of a hash those are: some more than there are points on most rings.
const START_BITS: u32 = 12;

impl Ring {
    /// libmemcached's ring by weights, of each server's name and weight.
    pub(crate) fn weighted(servers: &[(&str, u32)]) -> Self {
        let total = servers.iter().map(|&(_, weight)| u64::from(weight)).sum();
        Self::of((0..).zip(servers).flat_map(|(server, &(name, weight))| {
            (0..hashes(weight, total, servers.len()))
                .flat_map(move |at| md5_words(format!("{name}-{at}").as_bytes()))
                .map(move |point| (point, server))
        }))
    }

    /// libmemcached's ring without weights, of each server's name.
    pub(crate) fn plain(servers: &[(&str, u32)]) -> Self {
        Self::of((0..).zip(servers).flat_map(|(server, &(name, _))| {
            (0..PLAIN_POINTS).map(move |at| (one_at_a_time(format!("{name}-{at}").as_bytes()), server))
        }))
    }

    fn of(points: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut points: Vec<_> = points.collect();
        points.sort_unstable();
        let first =
            |start: u32| points.partition_point(|&(point, _)| point < start << (u32::BITS - START_BITS));
        let starts =
            (0..1 << START_BITS).map(|start| u32::try_from(first(start)).unwrap_or(u32::MAX)).collect();
        Self { points, starts }
    }

    /// The point of a hash, and its server.
    pub(crate) fn point(&self, hash: u32) -> (u32, usize) {
        let start = self.starts[(hash >> (u32::BITS - START_BITS)) as usize] as usize;
        let found = self.points[start..].iter().find(|&&(point, _)| point >= hash);
        // The first point is also behind the last one.
        let (point, server) = *found.unwrap_or(&self.points[0]);
        (point, server as usize)
    }

    /// How much of the ring, of 2^32 hashes, belongs to each of the servers.
    pub(crate) fn hashes(&self, servers: usize) -> Vec<u64> {
        let mut hashes = vec![0; servers];
        let Some(&(last, _)) = self.points.last() else { return hashes };
        let mut before = i64::from(last) - (1 << 32);
        for &(point, server) in &self.points {
            let point = i64::from(point);
            hashes[server as usize] += (point - before).unsigned_abs();
            before = point;
        }
        hashes
    }
}

/// How many hashes of a server of this weight go on the ring. In single precision and in this order, as
/// libmemcached and twemproxy do: of 25 servers with one weight each has 39, not 40.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as libmemcached does")]
#[expect(clippy::cast_precision_loss, reason = "as libmemcached does")]
fn hashes(weight: u32, total: u64, servers: usize) -> u32 {
    let share = weight as f32 / total as f32;
    // They also add 1e-10 before they cut, which single precision does not see.
    (share * (4.0 * HASHES) / 4.0 * servers as f32).floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_points_are_as_its_share() {
        assert_eq!(hashes(1, 2, 2), 40);
        assert_eq!(hashes(1, 6, 3), 20);
        assert_eq!(hashes(2, 6, 3), 40);
        assert_eq!(hashes(1, 4_000_000, 2), 0);
        // Exact arithmetic would say 58 and 40.
        assert_eq!(hashes(29, 60, 3), 57);
        assert_eq!(hashes(1, 25, 25), 39);
    }

    #[test]
    fn points_are_found_from_the_first_bits_of_a_hash() {
        let names: Vec<_> = (0..50).map(|at| format!("cache{at}:33013")).collect();
        let servers: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let ring = Ring::weighted(&servers);
        for at in 0..100_000_u32 {
            let hash = at.wrapping_mul(0x9e37_79b9);
            let found = ring.points.iter().find(|&&(point, _)| point >= hash).unwrap_or(&ring.points[0]);
            assert_eq!(ring.point(hash), (found.0, found.1 as usize));
        }
        for &(point, _) in &ring.points {
            assert_eq!(ring.point(point).0, point);
        }
    }

    #[test]
    fn all_hashes_belong_to_a_server() {
        let ring = Ring::of([(30, 0), (10, 1), (20, 2), (20, 1)].into_iter());
        assert_eq!(ring.hashes(4), [10, (1 << 32) - 10, 0, 0]);
        assert_eq!(Ring::of([(7, 0)].into_iter()).hashes(1), [1 << 32]);
    }

    #[test]
    fn behind_the_last_point_comes_the_first() {
        let ring = Ring::of([(30, 0), (10, 1), (20, 2), (20, 1)].into_iter());
        for (hash, server) in [(0, 1), (10, 1), (11, 1), (20, 1), (21, 0), (30, 0), (31, 1), (u32::MAX, 1)] {
            assert_eq!(ring.point(hash).1, server, "{hash}");
        }
    }
}

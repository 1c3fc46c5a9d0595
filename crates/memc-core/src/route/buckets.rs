//! Hash modulo the buckets: a server has one bucket for each unit of its weight, beside each other.

/// Where each server's buckets end.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    ends: Vec<u64>,
    count: u64,
}

impl Buckets {
    /// The buckets of servers with these weights.
    pub(crate) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let mut count = 0;
        let ends = weights
            .map(|weight| {
                count += u64::from(weight);
                count
            })
            .collect();
        Self { ends, count }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The bucket of a hash, and its server.
    pub(crate) fn bucket(&self, hash: u32) -> (u64, usize) {
        let bucket = u64::from(hash) % self.count;
        (bucket, self.ends.partition_point(|&end| end <= bucket))
    }

    /// How many of this many `hashes`, counted from 0, belong to each server.
    pub(crate) fn hashes(&self, hashes: u64) -> Vec<u64> {
        // Those in the buckets below `end`.
        let below = |end: u64| hashes / self.count * end + end.min(hashes % self.count);
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| below(end) - below(start)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_bucket_for_each_unit_of_weight() {
        let buckets = Buckets::new([2, 1, 3].into_iter());
        let servers: Vec<usize> = (0..8).map(|hash| buckets.bucket(hash).1).collect();
        assert_eq!(servers, [0, 0, 1, 2, 2, 2, 0, 0]);
        assert_eq!(buckets.hashes(8), [4, 1, 3]);
        // Buckets are not memory.
        let buckets = Buckets::new([u32::MAX, u32::MAX].into_iter());
        assert_eq!((buckets.bucket(u32::MAX - 1).1, buckets.bucket(u32::MAX).1), (0, 1));
    }
}

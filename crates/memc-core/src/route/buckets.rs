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

    /// The server of a hash.
    pub(crate) fn server(&self, hash: u32) -> usize {
        let bucket = u64::from(hash) % self.count;
        self.ends.partition_point(|&end| end <= bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_bucket_for_each_unit_of_weight() {
        let buckets = Buckets::new([2, 1, 3].into_iter());
        let servers: Vec<usize> = (0..8).map(|hash| buckets.server(hash)).collect();
        assert_eq!(servers, [0, 0, 1, 2, 2, 2, 0, 0]);
        // Buckets are not memory.
        let buckets = Buckets::new([u32::MAX, u32::MAX].into_iter());
        assert_eq!((buckets.server(u32::MAX - 1), buckets.server(u32::MAX)), (0, 1));
    }
}

//! Why a server of a group holds a key, for people who look for it.

use std::fmt;

/// Why [`Group::server`](crate::Group::server) chooses a server for a key: what the reader's client computes.
///
/// Shown as a few words: `hash 3921571 has the ring's next point 4129055`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// It is the only one.
    Single,
    /// The server has the point on the ring at or behind the key's hash.
    Point {
        /// Of the key.
        hash: u32,
        /// At or behind the hash; less than it if the ring's first point is behind its last.
        point: u32,
    },
    /// The server has the bucket of the key's hash modulo the buckets.
    Bucket {
        /// Of the key.
        hash: u32,
        /// The remainder.
        bucket: u64,
        /// How many there are: one for each unit of weight.
        buckets: u64,
    },
    /// The server has the highest score of all.
    Score {
        /// The hash of the server's name and the key.
        score: u32,
    },
}

impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => write!(out, "the only server"),
            Self::Point { hash, point } => write!(out, "hash {hash} has the ring's next point {point}"),
            Self::Bucket { hash, bucket, buckets } => {
                write!(out, "hash {hash} modulo {buckets} is bucket {bucket}")
            }
            Self::Score { score } => write!(out, "score {score} is the highest"),
        }
    }
}

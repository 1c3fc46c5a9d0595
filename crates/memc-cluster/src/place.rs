//! Where a chunk is in the load: its file and its place there, which is the timestamp of the dataflow.

/// A chunk's place. Places are in the order in which a sequential loader comes to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The file, from 0, of those of the attempt.
    pub(crate) file: u32,
    /// The chunk, from 0, of the file.
    pub(crate) chunk: u32,
}

impl Place {
    /// The first chunk of a file.
    pub(crate) fn of_file(file: usize) -> Self {
        // No folder holds that many files.
        Self { file: u32::try_from(file).unwrap_or(u32::MAX), chunk: 0 }
    }

    /// The place after this one, which ends its file or not.
    pub(crate) fn next(self, ends_input: bool) -> Self {
        match ends_input {
            true => Self { file: self.file + 1, chunk: 0 },
            false => Self { chunk: self.chunk + 1, ..self },
        }
    }

    /// As a timestamp: a file is an epoch, its chunks divide it. So the frontier also says how far a file is, which
    /// bounds what is in flight.
    pub(crate) fn time(self) -> u64 {
        u64::from(self.file) << 32 | u64::from(self.chunk)
    }

    /// The place of a timestamp.
    #[expect(clippy::cast_possible_truncation, reason = "these are the two halves")]
    pub(crate) fn of_time(time: u64) -> Self {
        Self { file: (time >> 32) as u32, chunk: time as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_the_order_of_places() {
        let mut place = Place::of_file(3);
        for ends_input in [false, false, true, true, false] {
            let next = place.next(ends_input);
            assert!(place < next && place.time() < next.time());
            assert_eq!(Place::of_time(next.time()), next);
            place = next;
        }
        assert_eq!(place, Place { file: 5, chunk: 1 });
    }
}

//! The batches of one connection that are not acknowledged, and how far they are written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::order::reorder::ReorderQueue;
use crate::wire::batch::Batch;
use crate::wire::bundle::Bundle;

/// Bundles of batches that are not acknowledged, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Window {
    bundles: VecDeque<Bundle>,
    /// How many of them have been written to the connection and are not to be written again.
    written: usize,
    /// When each of those was.
    written_at: VecDeque<Instant>,
    /// How many of them, whole or in part, have gone out on the connection.
    in_flight: usize,
    /// How many of them were in flight on a connection that ended: nothing newer is written before they are
    /// acknowledged.
    again: usize,
    /// The chunk of the first batch.
    number: u64,
}

impl Window {
    /// Takes what is there, and waits only if there is nothing else to do. False at the end.
    pub(crate) fn refill(&mut self, turns: &ReorderQueue) -> bool {
        if self.bundles.is_empty() {
            self.bundles.extend(turns.take());
        }
        while let Some(bundle) = turns.try_take() {
            self.bundles.push_back(bundle);
        }
        !self.bundles.is_empty()
    }

    pub(crate) fn first(&self) -> Option<&Bundle> {
        self.bundles.front()
    }

    /// How many of the first ones are written.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Whether all that was in flight on a connection that ended is acknowledged since.
    pub(crate) fn is_sent_again(&self) -> bool {
        self.again == 0
    }

    /// The next bundle to write, which counts as in flight from now on. While records are `suspect`, none is written
    /// behind those that are written again or behind the end of an input, so that they can be read back there.
    pub(crate) fn next_to_write(&mut self, suspect: bool) -> Option<&mut Bundle> {
        let at = self.written;
        let is_held = suspect
            && (self.again > 0 && at >= self.again
                || at > 0 && self.bundles.get(at - 1).is_some_and(Bundle::ends_input));
        if is_held || at == self.bundles.len() {
            return None;
        }
        self.in_flight = self.in_flight.max(at + 1);
        self.bundles.get_mut(at)
    }

    /// That bundle has been written.
    pub(crate) fn note_written(&mut self) {
        self.written += 1;
        self.written_at.push_back(Instant::now());
    }

    /// How long ago the first one was written, if it is.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.written_at.front().map(Instant::elapsed)
    }

    /// Bytes of those that are written.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.bundles.range(..self.written).map(|bundle| bundle.bytes() as u64).sum()
    }

    /// The first bundle is acknowledged: takes its batches out, each with the number of its chunk.
    pub(crate) fn finish(&mut self) -> impl Iterator<Item = (u64, Batch)> + use<> {
        let batches = self.bundles.pop_front().map(Bundle::into_batches).unwrap_or_default();
        self.written_at.pop_front();
        let number = self.number;
        self.number += batches.len() as u64;
        for count in [&mut self.written, &mut self.in_flight, &mut self.again] {
            *count = count.saturating_sub(1);
        }
        (number..).zip(batches)
    }

    /// The bundles that are written behind the first one and are answered; they are to be written again after it.
    pub(crate) fn write_all_again(&mut self) -> usize {
        let written = std::mem::take(&mut self.written);
        self.written_at.clear();
        self.bundles.range(1..written.max(1)).filter(|bundle| !bundle.is_empty()).count()
    }

    /// The connection is gone: all is to be written again. Returns what was in flight on it.
    pub(crate) fn lose_connection(&mut self) -> impl Iterator<Item = &Batch> {
        self.written = 0;
        self.written_at.clear();
        self.again = self.again.max(self.in_flight);
        let in_flight = std::mem::take(&mut self.in_flight);
        self.bundles.range(..in_flight).flat_map(Bundle::batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::attributes::Attributes;

    fn batch(line: u32, ends_input: bool) -> Batch {
        let mut batch = Batch::default();
        batch.ends_input = ends_input;
        if !ends_input {
            batch.push(line, b"k", b"", Attributes::default());
        }
        batch
    }

    /// Three batches, the end of an input, another batch.
    fn window() -> Window {
        window_of(&ReorderQueue::default())
    }

    fn window_of(turns: &ReorderQueue) -> Window {
        for number in 0..5 {
            turns.submit(number, batch(u32::try_from(number).expect("small"), number == 3));
        }
        let mut window = Window::default();
        turns.hurry(true);
        assert!(window.refill(turns));
        window
    }

    /// Writes all that may be written, and returns how many those are.
    fn write(window: &mut Window, suspect: bool) -> usize {
        while window.next_to_write(suspect).is_some() {
            window.note_written();
        }
        window.written()
    }

    #[test]
    fn nothing_newer_is_written_behind_what_is_written_again() {
        let mut window = window();
        for _ in 0..2 {
            assert!(window.next_to_write(false).is_some());
            window.note_written();
        }
        // Of the third one just a part may have gone out.
        assert!(window.next_to_write(false).is_some());
        assert_eq!(window.lose_connection().count(), 3);
        assert_eq!(write(&mut window, true), 3);
        assert_eq!(window.lose_connection().count(), 3);
        assert_eq!(write(&mut window, true), 3);
        for number in 0..3 {
            assert!(!window.is_sent_again());
            assert_eq!(window.finish().map(|(number, _)| number).collect::<Vec<_>>(), [number]);
        }
        assert!(window.is_sent_again());
        assert_eq!(write(&mut window, true), 1, "up to the end of the input");
        assert_eq!(window.finish().map(|(_, batch)| batch.ends_input).collect::<Vec<_>>(), [true]);
        assert_eq!(write(&mut window, true), 1);
    }

    #[test]
    fn batches_of_a_bundle_are_written_finished_and_lost_together() {
        let mut window = window_of(&ReorderQueue::gathering(1000));
        assert_eq!(write(&mut window, false), 3, "three batches, the end of the input, the last batch");
        assert_eq!(window.lose_connection().count(), 5);
        assert!(window.next_to_write(true).is_some());
        // Cut again before the end of the bundle.
        assert_eq!(window.lose_connection().count(), 3);
        assert_eq!(write(&mut window, true), 2, "up to the end of the input");
        let numbers = |window: &mut Window| window.finish().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(numbers(&mut window), [0, 1, 2]);
        assert_eq!((window.written(), window.is_sent_again()), (1, false));
        assert_eq!(numbers(&mut window), [3]);
        assert_eq!(write(&mut window, true), 1);
        assert_eq!(numbers(&mut window), [4]);
        assert!(window.is_sent_again() && window.finish().next().is_none());
    }

    #[test]
    fn without_suspects_all_is_written() {
        let mut window = window();
        assert_eq!(write(&mut window, false), 5);
        assert_eq!(window.lose_connection().count(), 5);
        assert_eq!(write(&mut window, false), 5);
    }
}

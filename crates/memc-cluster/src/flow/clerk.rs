//! The operator that keeps the books, on the first worker: notes in the order of their places, files as they are
//! finished.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use memc_core::stages::{Account, Books, Tally};
use memc_core::{Encode, Error};
use timely::container::{CapacityContainerBuilder, DrainContainer};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::ExchangeCore;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::progress::frontier::MutableAntichain;

use crate::flow::shared::Flow;
use crate::parcel::{Content, Note, Parcels};
use crate::place::Place;

/// How soon it is looked again whether the caller has handled events, when too many wait.
const RETRY: Duration = Duration::from_millis(10);

/// What is known of a chunk that is not finished.
#[derive(Default)]
struct Open {
    /// Holds its time.
    capability: Option<Capability<u64>>,
    encoded: Option<(u64, bool, Option<String>, Tally)>,
    broken: Option<Error>,
    acknowledged: Vec<Tally>,
}

struct Clerk<E> {
    flow: Arc<Flow<E>>,
    books: Books,
    open: BTreeMap<Place, Open>,
    /// The first chunk that is not in the books yet.
    next: Place,
    /// Chunks that are in the books, by the number that they have there, and how many lanes have still to report.
    entered: BTreeMap<Place, Entered>,
}

/// A chunk in the books.
struct Entered {
    number: u64,
    /// How many lanes have not reported on it.
    lanes_left: usize,
    /// The report of an input's last chunk, kept back until the frontier has passed it.
    last: Option<Tally>,
    capability: Option<Capability<u64>>,
}

/// Takes the notes of all workers; emits nothing, but holds the times of what is not in the books.
pub(super) fn operator<'scope, E: Encode + 'static>(
    notes: Stream<'scope, u64, Parcels<Note>>,
    flow: &Arc<Flow<E>>,
    books: Option<Books>,
) -> Stream<'scope, u64, Parcels<Note>> {
    let to_first = ExchangeCore::<CapacityContainerBuilder<Parcels<Note>>, _>::new(|_: &Note| 0);
    let flow = Arc::clone(flow);
    let scope = notes.scope();
    notes.unary_frontier::<CapacityContainerBuilder<Parcels<Note>>, _, _, _>(to_first, "books", |_, info| {
        let activator = scope.activator_for(Rc::clone(&info.address));
        let max_bytes = flow.stages.options().max_bytes_in_flight;
        let (open, entered) = Default::default();
        let mut clerk = books.map(|books| Clerk { flow, books, open, next: Place::of_file(0), entered });
        move |(input, frontier), output| {
            let port = output.output_index();
            input.for_each(|capability, notes| {
                for note in notes.drain() {
                    if let Some(clerk) = &mut clerk {
                        clerk.take(note, capability.retain_least(port));
                    }
                }
            });
            let Some(clerk) = &mut clerk else { return };
            clerk.enter();
            clerk.finish(frontier);
            if clerk.books.bytes_kept() > max_bytes {
                // What is finished is held until the caller has handled its events: so nobody gets ahead of it.
                activator.activate_after(RETRY);
            } else {
                clerk.release();
            }
            clerk.stop_at_broken(frontier);
        }
    })
}

impl<E: Encode + 'static> Clerk<E> {
    fn take(&mut self, Note { place, content }: Note, capability: Option<Capability<u64>>) {
        if let (Some(entered), Content::Acknowledged(_)) = (self.entered.get_mut(&place), &content) {
            let Content::Acknowledged(tally) = content else { return };
            entered.lanes_left -= 1;
            return self.books.report(entered.number, tally);
        }
        let open = self.open.entry(place).or_default();
        open.capability = open.capability.take().or(capability);
        match content {
            Content::Encoded { bytes_in, ends_input, mark, tally } => {
                open.encoded = Some((bytes_in, ends_input, mark, tally));
            }
            Content::Acknowledged(tally) => open.acknowledged.push(tally),
            Content::Broken(error) => open.broken = Some(error),
        }
    }

    /// Enters chunks into the books in their order.
    fn enter(&mut self) {
        while let Some(open) = self.open.get_mut(&self.next)
            && let Some((bytes_in, ends_input, mark, tally)) = open.encoded.take()
        {
            let place = self.next;
            let Some(Open { capability, acknowledged, .. }) = self.open.remove(&place) else { return };
            if place.chunk == 0 {
                self.open_input(place, mark.as_deref());
            }
            let number = self.books.add_chunk(bytes_in, ends_input);
            let lanes_left = self.flow.lanes.len() - acknowledged.len();
            acknowledged.into_iter().for_each(|tally| self.books.report(number, tally));
            let last = if ends_input {
                Some(tally)
            } else {
                self.books.report_encoded(number, tally);
                None
            };
            self.entered.insert(place, Entered { number, lanes_left, last, capability });
            self.next = place.next(ends_input);
        }
    }

    fn open_input(&self, place: Place, mark: Option<&str>) {
        let file = self.flow.first_file + place.file as usize;
        if let Some(mark) = mark {
            self.flow.files.marked(file, mark);
        }
        self.books.open_input(self.flow.files.name(file));
    }

    /// Reports the files that the frontier has passed: all of them and of those before is stored everywhere.
    fn finish(&mut self, frontier: &MutableAntichain<u64>) {
        for (place, entered) in &mut self.entered {
            if frontier.less_equal(&place.time()) {
                break;
            }
            if let Some(tally) = entered.last.take() {
                self.books.report_encoded(entered.number, tally);
            }
        }
    }

    /// Lets go of the times of what is finished.
    fn release(&mut self) {
        while let Some(first) = self.entered.first_entry()
            && first.get().lanes_left == 0
            && first.get().last.is_none()
        {
            drop(first.remove().capability);
        }
    }

    /// Stops at a chunk that cannot be read, once all before it is finished.
    fn stop_at_broken(&mut self, frontier: &MutableAntichain<u64>) {
        let (place, time) = (self.next, self.next.time());
        if !self.entered.is_empty() || frontier.less_than(&time) {
            return;
        }
        if let Some(error) = self.open.get_mut(&place).and_then(|open| open.broken.take()) {
            if place.chunk == 0 {
                self.open_input(place, None);
            }
            self.flow.state.abort(error);
        }
    }
}

//! The operator that writes: the batches of each lane in the order of their places, held until they are acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use memc_core::Encode;
use memc_core::stages::Batch;
use timely::container::{CapacityContainerBuilder, DrainContainer};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::ExchangeCore;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::flow::shared::Flow;
use crate::parcel::{Content, Load, Note, Parcels};
use crate::place::Place;

/// What the worker of a lane keeps of it.
struct Written {
    /// What came too early.
    early: BTreeMap<Place, (Capability<u64>, Batch)>,
    /// The place whose turn it is.
    next: Place,
    /// How many batches were submitted.
    submitted: u64,
    /// Of those that are not acknowledged.
    held: VecDeque<(Capability<u64>, Place)>,
}

/// Hands batches to their lanes; what it emits is what the lanes report.
pub(super) fn operator<'scope, E: Encode + 'static>(
    loads: Stream<'scope, u64, Parcels<Load>>,
    flow: &Arc<Flow<E>>,
) -> Stream<'scope, u64, Parcels<Note>> {
    let flow = Arc::clone(flow);
    let worker = loads.scope().index();
    let waker = {
        let worker = loads.scope().worker();
        move |address: Rc<[usize]>| worker.sync_activator_for(address.to_vec())
    };
    let owners = flow.owners.clone();
    let to_owner = ExchangeCore::<CapacityContainerBuilder<Parcels<Load>>, _>::new(move |load: &Load| {
        owners[load.lane as usize] as u64
    });
    loads.unary::<CapacityContainerBuilder<Parcels<Note>>, _, _, _>(to_owner, "write", move |_, info| {
        let owned = (0..).zip(&flow.owners).filter(|(_, owner)| **owner == worker);
        let mut lanes: BTreeMap<u32, Written> = owned
            .map(|(lane, _)| {
                flow.lanes[lane as usize].1.wake(waker(Rc::clone(&info.address)));
                let (early, held) = Default::default();
                (lane, Written { early, next: Place::of_file(0), submitted: 0, held })
            })
            .collect();
        move |input, output| {
            let port = output.output_index();
            input.for_each(|capability, loads| {
                for Load { place, lane, batch } in loads.drain() {
                    if let (Some(capability), Some(lane)) =
                        (capability.retain_least(port), lanes.get_mut(&lane))
                    {
                        lane.early.insert(place, (capability, batch));
                    }
                }
            });
            for (at, lane) in &mut lanes {
                let (turns, desk) = &flow.lanes[*at as usize];
                while let Some((capability, batch)) = lane.early.remove(&lane.next) {
                    lane.held.push_back((capability, lane.next));
                    lane.next = lane.next.next(batch.ends_input());
                    turns.submit(lane.submitted, batch);
                    lane.submitted += 1;
                }
                for tally in desk.take() {
                    let Some((capability, place)) = lane.held.pop_front() else { break };
                    let content = Content::Acknowledged(tally);
                    output.session(&capability).give(Note { place, content });
                }
            }
        }
    })
}

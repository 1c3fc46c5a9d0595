//! The operator that reads and encodes: each worker takes every n-th file, in their order.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use memc_core::stages::{Chunk, Encoded, Encoder};
use memc_core::{Encode, Error};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::Activator;
use timely::scheduling::activate::SyncActivator;

use crate::flow::shared::Flow;
use crate::parcel::{Content, Load, Note, Parcels};
use crate::place::Place;

type Output<P> = OutputBuilder<u64, CapacityContainerBuilder<Parcels<P>>>;

/// What the operator of a worker emits, and what wakes it.
pub(super) struct Reading<'scope> {
    pub(super) loads: Stream<'scope, u64, Parcels<Load>>,
    pub(super) notes: Stream<'scope, u64, Parcels<Note>>,
    pub(super) activator: Activator,
}

/// The operator of this worker.
pub(super) fn operator<'scope, E: Encode + 'static>(
    scope: Scope<'scope, u64>,
    flow: &Arc<Flow<E>>,
    probe: &Handle<u64>,
) -> Reading<'scope> {
    let mut builder = OperatorBuilder::new("read and encode".to_owned(), scope);
    let (loads, load_stream) = builder.new_output();
    let (notes, note_stream) = builder.new_output();
    let address = builder.operator_info().address;
    let activator = scope.activator_for(Rc::clone(&address));
    let waker = scope.worker().sync_activator_for(address.to_vec());
    let (worker, workers) = (scope.index(), scope.peers());
    let reader = (flow.clone(), probe.clone(), activator.clone());
    builder.build(move |capabilities| {
        let (flow, probe, activator) = reader;
        let outputs = (Output::from(loads), Output::from(notes));
        let mut reader = Reader {
            place: Place::of_file(worker),
            encoder: flow.stages.encoder(),
            chunks: None,
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            capabilities: Some(capabilities),
            flow,
            workers,
            probe,
            activator,
            waker,
            outputs,
        };
        reader.hold();
        move |_| reader.step()
    });
    Reading { loads: load_stream, notes: note_stream, activator }
}

struct Reader<E> {
    flow: Arc<Flow<E>>,
    workers: usize,
    probe: Handle<u64>,
    activator: Activator,
    waker: SyncActivator,
    encoder: Encoder<E>,
    outputs: (Output<Load>, Output<Note>),
    /// For each output one at the time of `place`; none when all files are read.
    capabilities: Option<Vec<Capability<u64>>>,
    /// The chunk that comes next.
    place: Place,
    /// The chunks of the file that is being read.
    chunks: Option<Receiver<Result<Chunk, Error>>>,
    /// Chunks that are encoded and not finished everywhere, with their bytes.
    in_flight: VecDeque<(u64, usize)>,
    bytes_in_flight: usize,
}

impl<E: Encode + 'static> Reader<E> {
    /// Encodes one chunk, if there is one and it may be sent now.
    fn step(&mut self) {
        if self.capabilities.is_none() || !self.may_send() {
            return;
        }
        let chunks = match &self.chunks {
            Some(chunks) => chunks,
            None => match self.start() {
                Ok(chunks) => self.chunks.insert(chunks),
                Err(error) => return self.flow.state.abort(error),
            },
        };
        match chunks.try_recv() {
            Ok(Ok(chunk)) => match self.encoder.encode(chunk) {
                Ok(encoded) => self.send(encoded),
                Err(error) => self.flow.state.abort(error),
            },
            Ok(Err(Error::Cancelled)) => self.flow.state.abort(Error::Cancelled),
            Ok(Err(error)) => self.send_broken(error),
            Err(TryRecvError::Empty) => return,
            // After a broken chunk nothing comes. Its time is held, so the files before it are finished and it is not.
            Err(TryRecvError::Disconnected) => return,
        }
        // Others have their turn in between.
        self.activator.activate();
    }

    /// Whether the next chunk may be in flight now: it is not too far ahead of the oldest one that is not finished.
    ///
    /// The worker with the oldest chunk has nothing else in flight than what is before and behind it in the same file, and
    /// all of that can be finished. So somebody always gets on.
    fn may_send(&mut self) -> bool {
        let Some(oldest) = self.probe.with_frontier(|frontier| frontier.first().copied()) else {
            return true;
        };
        while let Some(&(time, bytes)) = self.in_flight.front()
            && time < oldest
        {
            self.in_flight.pop_front();
            self.bytes_in_flight -= bytes;
        }
        let ahead = self.place.file.saturating_sub(Place::of_time(oldest).file) as usize;
        let most = self.flow.ahead;
        ahead <= most.files && self.bytes_in_flight <= most.bytes
    }

    /// Starts the thread that reads the next file.
    fn start(&self) -> Result<Receiver<Result<Chunk, Error>>, Error> {
        let (sender, chunks) = mpsc::channel();
        let at = self.place.file as usize;
        let flow = Arc::clone(&self.flow);
        let waker = self.waker.clone();
        let read = move || {
            let input = flow.files.input(flow.first_file + at, &flow.paths[at]);
            let send = |chunk| {
                let is_wanted = sender.send(chunk).is_ok();
                // A worker that is gone wants no more.
                let _ = waker.activate();
                is_wanted
            };
            if let Err(error) = flow.stages.read(input, |chunk| send(Ok(chunk))) {
                send(Err(error));
            }
        };
        let thread = thread::Builder::new().name("reader".to_owned()).spawn(read);
        thread.map(|_| chunks).map_err(|source| Error::Start { thread: "reader", source })
    }

    fn send(&mut self, encoded: Encoded) {
        let Encoded { ends_input, bytes_in, batches, tally, bytes, .. } = encoded;
        let mark = self.mark();
        let Some([of_loads, of_notes]) = self.capabilities.as_deref() else { return };
        let place = self.place;
        let (loads, notes) = &mut self.outputs;
        loads.activate().session(of_loads).give_iterator((0..).zip(batches).map(|(lane, batch)| Load {
            place,
            lane,
            batch,
        }));
        let content = Content::Encoded { bytes_in, ends_input, mark, tally };
        notes.activate().session(of_notes).give(Note { place, content });
        self.in_flight.push_back((place.time(), bytes));
        self.bytes_in_flight += bytes;
        self.place = place.next(ends_input);
        if ends_input {
            self.chunks = None;
            self.place = Place::of_file(place.file as usize + self.workers);
        }
        self.hold();
    }

    /// Its time is held from now on.
    fn send_broken(&mut self, error: Error) {
        let Some([_, of_notes]) = self.capabilities.as_deref() else { return };
        let (_, notes) = &mut self.outputs;
        let note = Note { place: self.place, content: Content::Broken(error) };
        notes.activate().session(of_notes).give(note);
    }

    /// What is known of the file that is being read, for the first process.
    fn mark(&self) -> Option<String> {
        let file = self.flow.first_file + self.place.file as usize;
        if self.place.chunk == 0 { self.flow.files.mark(file) } else { None }
    }

    /// Holds the time of the next chunk; none when there is no file left.
    fn hold(&mut self) {
        if self.place.file as usize >= self.flow.paths.len() {
            self.capabilities = None;
        }
        let time = self.place.time();
        self.capabilities.iter_mut().flatten().for_each(|capability| capability.downgrade(&time));
    }
}

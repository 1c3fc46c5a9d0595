//! The inputs that are not finished, in order, so that a load can start again with the first of them.

use std::collections::VecDeque;

use crate::Input;

/// The inputs, those that were opened and not finished first.
#[derive(Debug)]
pub(crate) struct Backlog<I> {
    opened: VecDeque<Input>,
    /// How many were finished in this attempt and are no longer in `opened`.
    finished: usize,
    /// How many were taken in this attempt, finished ones included.
    taken: usize,
    rest: I,
}

impl<I: Iterator<Item = Input>> Backlog<I> {
    pub(crate) fn new(rest: I) -> Self {
        Self { opened: VecDeque::new(), finished: 0, taken: 0, rest }
    }

    /// The next input to read, when `finished` ones of this attempt are finished.
    pub(crate) fn next(&mut self, finished: usize) -> Option<&mut Input> {
        self.forget(finished);
        let at = self.taken - self.finished;
        if at == self.opened.len() {
            self.opened.push_back(self.rest.next()?);
        }
        self.taken += 1;
        self.opened.get_mut(at)
    }

    /// Starts another attempt after one in which `finished` inputs were finished, because this server was restarted:
    /// the others are read again, the first of which is returned if it was opened.
    pub(crate) fn start_again(&mut self, finished: usize, restarted: &str) -> Option<&Input> {
        self.forget(finished);
        (self.finished, self.taken) = (0, 0);
        self.opened.iter_mut().for_each(|input| input.note_restart(restarted));
        self.opened.front()
    }

    fn forget(&mut self, finished: usize) {
        self.opened.drain(..(finished - self.finished).min(self.opened.len()));
        self.finished = finished;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_holds_what_is_not_finished() {
        let names = |backlog: &Backlog<_>| {
            backlog.opened.iter().map(|input: &Input| input.name().to_owned()).collect::<Vec<_>>()
        };
        let mut backlog = Backlog::new((0..).map(|number| Input::path(number.to_string())));
        let mut next = |finished| {
            let name = backlog.next(finished).map(|input| input.name().to_owned()).unwrap_or_default();
            (name, names(&backlog).len())
        };
        assert_eq!(next(0), ("0".to_owned(), 1));
        assert_eq!(next(0), ("1".to_owned(), 2));
        assert_eq!(next(1), ("2".to_owned(), 2));
        assert_eq!(next(3), ("3".to_owned(), 1));
        assert_eq!(next(3), ("4".to_owned(), 2));
        assert_eq!(backlog.start_again(4, "server").map(Input::name), Some("4"));
        assert_eq!(names(&backlog), ["4"]);
        let mut again = (0..2).map(|_| backlog.next(0).map(|input| input.name().to_owned()));
        assert_eq!((again.next(), again.next()), (Some(Some("4".to_owned())), Some(Some("5".to_owned()))));
    }
}

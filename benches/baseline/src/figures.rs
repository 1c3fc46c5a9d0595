//! What many runs come to.

use crate::contest::{Contestant, Run};

/// The middle of some figures, and the lowest and the highest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let (last, middle) = (sorted.len() - 1, sorted.len() / 2);
        let median = f64::midpoint(sorted[last - middle], sorted[middle]);
        Self { median, lowest: sorted[0], highest: sorted[last] }
    }
}

/// The runs of one contestant. Ratios are taken within each round: the machine's speed may drift.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) contestant: Contestant,
    pub(crate) records_per_second: Spread,
    /// The time that a record takes, in those of the floor.
    pub(crate) floors: Spread,
    /// How many times as fast as the old way.
    pub(crate) speedup: Spread,
    /// The most memory of all runs.
    pub(crate) memory_mib: Option<f64>,
}

impl Figures {
    /// The figures of everyone, in the order of the first round. The runs are those of whole rounds.
    pub(crate) fn of(runs: &[Run]) -> Vec<Self> {
        let rates = |contestant| {
            let own = runs.iter().filter(move |run| run.contestant == contestant);
            own.map(|run| run.records_per_second)
        };
        let mut all: Vec<Contestant> = Vec::new();
        for run in runs {
            if !all.contains(&run.contestant) {
                all.push(run.contestant);
            }
        }
        let figures = |contestant| {
            let own = runs.iter().filter(|run| run.contestant == contestant);
            let floors = rates(Contestant::Floor).zip(rates(contestant)).map(|(floor, rate)| floor / rate);
            let speedup = rates(Contestant::OldWay).zip(rates(contestant)).map(|(old, rate)| rate / old);
            Self {
                contestant,
                records_per_second: Spread::of(rates(contestant)),
                floors: Spread::of(floors),
                speedup: Spread::of(speedup),
                memory_mib: own.filter_map(|run| run.memory_mib).reduce(f64::max),
            }
        };
        all.into_iter().map(figures).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_each_round() {
        let run =
            |contestant, records_per_second, memory_mib| Run { contestant, records_per_second, memory_mib };
        let runs = [
            run(Contestant::OldWay, 10.0, Some(30.0)),
            run(Contestant::Load(2), 100.0, Some(12.0)),
            run(Contestant::Floor, 120.0, None),
            run(Contestant::Floor, 80.0, None),
            run(Contestant::Load(2), 50.0, Some(11.0)),
            run(Contestant::OldWay, 4.0, Some(31.0)),
        ];
        let figures = Figures::of(&runs);
        let all: Vec<_> = figures.iter().map(|figures| figures.contestant).collect();
        assert_eq!(all, [Contestant::OldWay, Contestant::Load(2), Contestant::Floor]);
        let Spread { median, lowest, highest } = figures[1].floors;
        assert_eq!((lowest, median, highest), (1.2, 1.4, 1.6));
        assert_eq!(figures[1].speedup.median, 11.25);
        assert_eq!(figures[0].memory_mib, Some(31.0));
        assert_eq!(figures[2].memory_mib, None);
    }
}

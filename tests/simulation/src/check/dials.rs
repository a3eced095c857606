//! Dials: bounded in a second and in a minute, and not repeated where the answer was no.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Found;
use crate::history::{Record, What};
use crate::plan::Fault;

/// Dials that a program may make at once after a quiet time, and how many a second after that.
const BURST: u32 = 10;
const PER_SECOND: u32 = 10;
/// Refusals in a row after which a client stops.
const REFUSALS: u32 = 3;

struct Dials {
    at: Vec<Duration>,
    free: u32,
    most: u32,
}

pub(super) fn check(records: &[Record], found: &mut Found) {
    let mut dials = BTreeMap::<usize, Dials>::new();
    let mut hopeless = BTreeMap::<usize, u32>::new();
    // Where nobody listens, a dial is not refused by anybody, and whoever comes back may refuse as often again.
    let mut served = false;
    let mut over = BTreeMap::<usize, Duration>::new();
    for Record { at, what } in records {
        match what {
            What::Started { link, hopeless: is_hopeless, .. } => {
                over.remove(link);
                // The allowance of a program begins anew with it.
                dials.remove(link).into_iter().for_each(|dials| paced(*link, &dials, found));
                if *is_hopeless {
                    hopeless.insert(*link, 0);
                }
            }
            What::Dialled { link, free, most } => {
                let new = Dials { at: Vec::new(), free: *free, most: *most };
                dials.entry(*link).or_insert(new).at.push(*at);
                if let Some(since) = over.get(link) {
                    found.add(
                        "INV-12",
                        format!("link {link} was dialled at {at:?}, refused for good at {since:?}"),
                    );
                }
                if let Some(times) = hopeless.get_mut(link).filter(|_| served) {
                    *times += 1;
                    if *times > REFUSALS {
                        found.add("INV-12", format!("link {link} is always refused, and was dialled again"));
                    }
                }
            }
            What::Fault(Fault::CrashServer | Fault::DrainServer) => served = false,
            What::Listens => {
                served = true;
                hopeless.values_mut().for_each(|times| *times = 0);
            }
            What::Refused { link } => {
                over.insert(*link, *at);
            }
            _ => {}
        }
    }
    dials.iter().for_each(|(link, dials)| paced(*link, dials, found));
}

fn paced(link: usize, dials: &Dials, found: &mut Found) {
    let windows = [
        (Duration::from_secs(1), BURST + PER_SECOND + dials.free),
        (Duration::from_secs(60), dials.most + dials.free),
    ];
    for (window, most) in windows {
        let crowded = dials.at.iter().enumerate().find(|(first, since)| {
            let within = dials.at[*first..].iter().take_while(|at| **at < **since + window).count();
            within > most as usize
        });
        if let Some((_, since)) = crowded {
            found.add(
                "INV-12",
                format!("link {link} was dialled more than {most} times within {window:?} from {since:?} on"),
            );
        }
    }
}

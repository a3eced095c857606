//! What goes wrong in a run, by its plan.

use std::time::Duration;

use tokio::time::sleep;

use crate::history::What;
use crate::pipe::Direction;
use crate::plan::{Fault, Way};
use crate::world::World;

/// How long a system sends again what nobody acknowledges. Real ones do so for a quarter of an hour; every wire with a heartbeat
/// finds a dead peer long before this.
const UNACKNOWLEDGED: Duration = Duration::from_secs(100);

/// Both directions, or the one.
fn directions(one: Option<Direction>) -> Vec<Direction> {
    one.map_or_else(|| vec![Direction::There, Direction::Back], |one| vec![one])
}

/// Lets everything go wrong that the plan has, at its time.
pub async fn rage(world: &World) {
    for (at, fault) in &world.plan.faults {
        sleep(at.saturating_sub(world.ground.history.now())).await;
        world.ground.history.add(What::Fault(*fault));
        befall(world, *fault).await;
    }
}

/// One thing goes wrong, or is good again.
pub async fn befall(world: &World, fault: Fault) {
    let network = &world.ground.network;
    match fault {
        Fault::Reset(way) => network.reset(world.link(way)),
        Fault::Blacken(way, one) => {
            directions(one).into_iter().for_each(|direction| network.blacken(world.link(way), direction));
            let (network, link) = (network.clone(), world.link(way));
            tokio::spawn(async move {
                sleep(UNACKNOWLEDGED).await;
                network.give_up(link);
            });
        }
        Fault::Partition(way, one, span) => network.partition(world.link(way), &directions(one), span),
        Fault::Refuse(way, span) => network.refuse(world.link(way), span),
        Fault::Silence(way, span) => network.silence(world.link(way), span),
        Fault::Quality(way, quality) => network.set_quality(world.link(way), quality),
        Fault::CrashServer => {
            for link in 0..network.links() {
                let ends_there = world.between.is_none() || link == world.link(Way::Bridge);
                if ends_there {
                    network.reset(link);
                }
            }
            world.upstream.crash();
        }
        Fault::DrainServer => world.upstream.drain().await,
        Fault::StartServer => world.upstream.start().await,
        Fault::CrashBridge => world.between.iter().for_each(|between| between.crash()),
        Fault::DrainBridge => {
            if let Some(between) = &world.between {
                between.drain().await;
            }
        }
        Fault::StartBridge => {
            if let Some(between) = &world.between {
                between.start().await;
            }
        }
        Fault::RestartClient(number) => {
            if let Some(program) = world.programs.iter().find(|program| program.number == number) {
                program.start().await;
            }
        }
        Fault::Step(seconds) => world.ground.clock.step(seconds),
        Fault::Suspend(span) => tokio::time::advance(span).await,
        Fault::Strike(number, struck) => world.judge.strike(&world.subject(number), struck),
        Fault::Hesitate(slow) => world.judge.hesitate(slow),
    }
}

/// Everything is good again, but for connections that are black.
pub async fn calm(world: &World) {
    let network = &world.ground.network;
    for link in 0..network.links() {
        network.refuse(link, Duration::ZERO);
        network.silence(link, Duration::ZERO);
        network.set_quality(link, crate::pipe::Quality::GOOD);
    }
    world.judge.hesitate(false);
    for program in world.programs.iter().filter(|program| !program.hopeless) {
        world.judge.strike(&world.subject(program.number), false);
    }
    world.upstream.start().await;
    if let Some(between) = &world.between {
        between.start().await;
    }
}

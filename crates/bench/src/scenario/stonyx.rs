//! Stonyx: request and answer at two sizes, and one message to many.

use super::{Load, Plan, compare, ourselves, server_cpu, wanted};
use crate::bare::stonyx::AUTH_KEY;
use crate::contender::Contender;
use crate::report::{Bar, Figure};

/// Clients of a broadcast.
const MEMBERS: usize = 500;

fn node(plan: &Plan) -> Option<Contender> {
    if !Plan::has(&plan.ws_modules, "node") {
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/stonyx.mjs");
    let command = vec!["node".to_owned(), script.to_owned(), plan.ws_modules.clone(), AUTH_KEY.to_owned()];
    Some(Contender { name: "Node ws and crypto", command })
}

/// Runs what the plan names.
///
/// # Errors
/// When a contender cannot be started or a load fails, naming which.
pub(super) async fn run(plan: &Plan, figures: &mut Vec<Figure>, bars: &mut Vec<Bar>) -> Result<(), String> {
    for (connections, body_bytes) in [(16, 100), (1, 100), (16, 64 << 10), (1, 64 << 10)] {
        let scenario = format!("stonyx-{connections}-{body_bytes}");
        if wanted(plan, &scenario) {
            calls(plan, scenario, connections, body_bytes, figures, bars).await?;
        }
    }
    let scenario = format!("stonyx-broadcast-{MEMBERS}");
    if wanted(plan, &scenario) {
        broadcast(plan, scenario, figures, bars).await?;
    }
    Ok(())
}

async fn calls(
    plan: &Plan,
    scenario: String,
    connections: usize,
    body_bytes: usize,
    figures: &mut Vec<Figure>,
    bars: &mut Vec<Bar>,
) -> Result<(), String> {
    let load = Load::Stonyx { connections, body_bytes };
    let calls = if body_bytes > 1_024 { plan.calls / 64 } else { plan.calls / 2 };
    let mut group = vec![
        (ourselves("polywire", &["serve", "stonyx"])?, load, calls),
        (ourselves("bare loop", &["serve", "stonyx-bare"])?, load, calls),
    ];
    group.extend(node(plan).map(|node| (node, load, calls / 8)));
    let cpu = server_cpu(&compare(&scenario, plan, &group, figures).await?);
    bars.push(Bar::at_most(&scenario, "server CPU against the bare loop", cpu[0] / cpu[1], 1.4));
    let least = if body_bytes > 1_024 { Some(3.0) } else { (connections == 16).then_some(8.0) };
    if let (Some(node), Some(least)) = (cpu.get(2), least) {
        bars.push(Bar::at_least(&scenario, "times less server CPU than Node", node / cpu[0], least));
    }
    Ok(())
}

async fn broadcast(
    plan: &Plan,
    scenario: String,
    figures: &mut Vec<Figure>,
    bars: &mut Vec<Bar>,
) -> Result<(), String> {
    let Some(node) = node(plan) else { return Ok(()) };
    let load = Load::StonyxBroadcast { members: MEMBERS };
    let messages = plan.calls / 4;
    let group = [
        (ourselves("polywire", &["serve", "stonyx"])?, load, messages),
        (node, load, messages / 4),
        (ourselves("bare loop", &["serve", "stonyx-bare-broadcast"])?, load, messages),
    ];
    let cpu = server_cpu(&compare(&scenario, plan, &group, figures).await?);
    bars.push(Bar::at_least(&scenario, "times less CPU a delivered event than Node", cpu[1] / cpu[0], 4.0));
    Ok(())
}

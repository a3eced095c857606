//! HyperHQ: a host that is asked for data, and one that tells every plugin.

use super::{Load, Plan, compare, ourselves, server_cpu, wanted};
use crate::contender::Contender;
use crate::load::hyperhq::MEMBERS;
use crate::report::{Bar, Figure};

/// Runs what the plan names.
///
/// # Errors
/// When a contender cannot be started or fails, naming which.
pub(super) async fn run(plan: &Plan, figures: &mut Vec<Figure>, bars: &mut Vec<Bar>) -> Result<(), String> {
    for plugins in [16, 1] {
        let scenario = format!("hyperhq-data-{plugins}");
        if wanted(plan, &scenario) {
            let times = 2.5;
            against(plan, scenario, Load::HyperHqData { plugins }, times, figures, bars).await?;
        }
    }
    let scenario = "hyperhq-events".to_owned();
    if wanted(plan, &scenario) {
        against(plan, scenario, Load::HyperHqEvents { members: MEMBERS }, 1.0, figures, bars).await?;
    }
    Ok(())
}

async fn against(
    plan: &Plan,
    scenario: String,
    load: Load,
    times: f64,
    figures: &mut Vec<Figure>,
    bars: &mut Vec<Bar>,
) -> Result<(), String> {
    let calls = plan.calls / 4;
    let mut group = vec![
        (ourselves("polywire", &["serve", "hyperhq"])?, load, calls),
        (ourselves("bare socketioxide", &["serve", "socketioxide"])?, load, calls),
    ];
    if Plan::has(&plan.socketio_server_modules, "node") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/hyperhq.mjs");
        let command = vec!["node".to_owned(), script.to_owned(), plan.socketio_server_modules.clone()];
        group.push((Contender { name: "npm socket.io", command }, load, calls / 4));
    }
    let cpu = server_cpu(&compare(&scenario, plan, &group, figures).await?);
    bars.push(Bar::at_most(&scenario, "server CPU against bare socketioxide", cpu[0] / cpu[1], 1.3));
    if let Some(node) = cpu.get(2) {
        let text = "times less server CPU than npm socket.io";
        bars.push(Bar::at_least(&scenario, text, node / cpu[0], times));
    }
    Ok(())
}

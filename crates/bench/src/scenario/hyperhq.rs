//! HyperHQ: a host that is asked for data, and one that tells every plugin.

use super::{Load, Plan, compare, ourselves, wanted};
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
    if Plan::has(&plan.socketio_server_modules) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/hyperhq.mjs");
        let command = vec!["node".to_owned(), script.to_owned(), plan.socketio_server_modules.clone()];
        group.push((Contender { name: "npm socket.io", command }, load, calls / 4));
    }
    let medians = compare(&scenario, plan, &group, figures).await?;
    let bar = |text: &str, reached, asked, at_most| Bar {
        scenario: scenario.clone(),
        text: text.to_owned(),
        reached,
        asked,
        at_most,
    };
    bars.push(bar("server CPU against bare socketioxide", medians[0] / medians[1], 1.3, true));
    if let Some(node) = medians.get(2) {
        bars.push(bar("times less server CPU than npm socket.io", node / medians[0], times, false));
    }
    Ok(())
}

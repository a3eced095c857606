//! The parts of the help that come from the code: the options of each wire, and the routes of the demo service.

use std::fmt::Write;

use clap::{Command, CommandFactory};
use polywire_bridge::Registry;
use polywire_core::{OptionKind, OptionSpec, limit_options};

use crate::args::Cli;
use crate::service::{self, RouteAbout};

/// The verbs that take a URL, or a file whose endpoints have the same options.
const HAVE_OPTIONS: [&str; 7] = ["serve", "call", "emit", "listen", "run", "check", "bench"];

/// The verbs that serve the demo service or call it.
const HAVE_ROUTES: [&str; 2] = ["serve", "call"];

/// The command line, with the options of these adapters in the help of the verbs that take them.
pub(crate) fn command(adapters: &Registry) -> Command {
    let options = options(adapters);
    let mut command = Cli::command();
    for verb in HAVE_OPTIONS {
        let mut help = options.clone();
        if HAVE_ROUTES.contains(&verb) {
            help = format!("{}\n{help}", routes());
        }
        command = command.mut_subcommand(verb, |verb| verb.after_long_help(help.trim_end().to_owned()));
    }
    command
}

/// The options of every wire, as they stand in a URL and in a bridge file.
fn options(adapters: &Registry) -> String {
    let mut help = "\
Options of a wire: ?NAME=VALUE&NAME=VALUE at the end of a URL, NAME = \"VALUE\" in an endpoint of a bridge file. Times are written as
250ms, 5s, 2min or 1h, sizes as 512B, 64KiB or 16MiB, secrets as env:NAME or file:PATH.
"
    .to_owned();
    let mut tell = |title: &str, specs: &mut dyn Iterator<Item = &OptionSpec>| {
        // Writing to a string cannot fail.
        let _ = writeln!(help, "\n{title}");
        for spec in specs {
            let OptionSpec { name, default, about, .. } = spec;
            let _ = writeln!(help, "  {name}={} [default: {default}]\n      {about}", value(spec));
        }
    };
    for name in adapters.names() {
        let Some(adapter) = adapters.get(name) else { continue };
        let (about, timeout) = (adapter.about(), adapter.limits().call_timeout.as_secs());
        tell(&format!("{name}: {about}. A call may take {timeout}s"), &mut adapter.options().iter());
    }
    tell("On every wire, limits by the names that refusals call them", &mut limit_options());
    help
}

/// What stands for the value of an option.
fn value(spec: &OptionSpec) -> String {
    match spec.takes {
        OptionKind::Flag => "1|0".to_owned(),
        OptionKind::Number => "NUMBER".to_owned(),
        OptionKind::Size => "SIZE".to_owned(),
        OptionKind::Duration => "TIME".to_owned(),
        OptionKind::Secret => "env:NAME|file:PATH".to_owned(),
        OptionKind::OneOf(words) => words.join("|"),
        _ => "TEXT".to_owned(),
    }
}

/// The routes of the demo service on each wire.
fn routes() -> String {
    let mut help = String::new();
    let mut tell = |title: &str, routes: &mut dyn Iterator<Item = RouteAbout>| {
        let _ = writeln!(help, "{title}");
        for RouteAbout { name, takes, answers } in routes {
            let _ = writeln!(help, "  {name:<17} {takes}\n      {answers}");
        }
        help.push('\n');
    };
    tell(
        "Routes of the demo service, what each takes, and what it answers; stonyx and hyperhq have neither this `fail` nor an echo of
unknown names:",
        &mut service::ROUTES.into_iter(),
    );
    tell("Its routes on stonyx besides:", &mut service::stonyx::ROUTES.into_iter());
    tell("Its routes on hyperhq besides:", &mut service::hyperhq::methods());
    help
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::adapters;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn help_of(words: &[&str]) -> String {
        let words = ["polywire"].iter().chain(words);
        let shown = command(&adapters()).try_get_matches_from(words).unwrap_err();
        assert_eq!(shown.kind(), clap::error::ErrorKind::DisplayHelp);
        shown.to_string()
    }

    #[test]
    fn the_help_of_a_verb_has_every_option_of_every_wire_however_it_is_asked_for() {
        command(&adapters()).debug_assert();
        for verb in HAVE_OPTIONS {
            let help = help_of(&["help", verb]);
            assert_eq!(help, help_of(&[verb, "--help"]));
            for name in adapters().names() {
                for spec in adapters().get(name).unwrap().all_options() {
                    let told = format!("  {}={} [default: {}]", spec.name, value(spec), spec.default);
                    assert!(help.contains(&told) && help.contains(spec.about), "{verb} {name} {}", spec.name);
                }
            }
        }
        assert!(help_of(&["help"]).contains("polywire help call"));
        assert!(!help_of(&["call", "-h"]).contains("max_frame_bytes"), "the short one stays short");
    }

    #[test]
    fn the_help_has_the_routes_that_are_served_and_no_others() {
        let names = |routes: Vec<(polywire_core::Kind, polywire_core::Route)>| {
            routes.into_iter().map(|(_, route)| route.to_string()).collect::<BTreeSet<_>>()
        };
        let told = |routes: &mut dyn Iterator<Item = RouteAbout>| {
            routes.map(|route| route.name.to_owned()).collect::<BTreeSet<_>>()
        };
        let everywhere = names(service::router().unwrap().routes());
        assert_eq!(told(&mut service::ROUTES.into_iter()), everywhere);
        let hyperhq = names(service::hyperhq::routes().build().unwrap().routes());
        assert_eq!(told(&mut service::hyperhq::methods()), hyperhq);
        let mut stonyx = names(service::stonyx::router(&Arc::default()).unwrap().routes());
        stonyx.retain(|name| name == "fail" || !everywhere.contains(name));
        assert_eq!(told(&mut service::stonyx::ROUTES.into_iter()), stonyx);
        let help = help_of(&["help", "serve"]);
        for name in everywhere.iter().chain(&hyperhq).chain(&stonyx) {
            assert!(help.contains(&format!("\n  {name:<17} ")), "{name}");
        }
    }
}

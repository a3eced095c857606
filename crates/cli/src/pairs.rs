//! What crosses between every ordered pair of wires, told by the check of the bridge from their capabilities.

use polywire_bridge::{Aspect, Config, Problem, Registry, Source, check};
use polywire_core::{Adapter, AdapterError, EventForm, JsonText, Options};

use crate::output::Line;

/// One ordered pair of wires: clients of the first reach a server of the second over a bridge.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The wire whose clients the bridge serves.
    pub from: &'static str,
    /// The wire whose server the bridge dials.
    pub to: &'static str,
    /// What crosses each way, in the order of [`Way::ALL`].
    pub ways: Vec<(Way, Crossing)>,
}

/// Who sends what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The client asks the server.
    Calls,
    /// The client tells the server.
    Events,
    /// The server asks the client.
    CallsBack,
    /// The server tells the client.
    EventsBack,
}

impl Way {
    /// Every way.
    pub const ALL: [Way; 4] = [Way::Calls, Way::Events, Way::CallsBack, Way::EventsBack];

    /// In words, for the head of a table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Way::Calls => "calls",
            Way::Events => "events",
            Way::CallsBack => "calls back",
            Way::EventsBack => "events back",
        }
    }

    /// A whole bridge file with one route this way.
    fn file(self, from: &dyn Adapter, to: &dyn Adapter) -> Result<String, AdapterError> {
        let as_requests = from.particulars(&Options::new())?.client_events == EventForm::Requests;
        let (from_end, kind, to_end) = match self {
            Way::Calls => ("in", "request", "\"out\""),
            // What such clients mean for events comes as requests, and the bridge makes events of them.
            Way::Events if as_requests => ("in", "request", "\"out\", emit = \"*\""),
            Way::Events => ("in", "event", "\"out\""),
            Way::CallsBack => ("out", "request", "\"in\""),
            Way::EventsBack => ("out", "event", "\"in\""),
        };
        let (from, to) = (from.name(), to.name());
        Ok(format!(
            r#"
[endpoint.in]
protocol = "{from}"
role = "server"
listen = "127.0.0.1:0"
[endpoint.out]
protocol = "{to}"
role = "client"
address = "127.0.0.1:1"
[[route]]
from = {{ endpoint = "{from_end}", match = "*", kind = "{kind}" }}
to = {{ endpoint = {to_end} }}
"#
        ))
    }
}

/// What of messages that go one way comes across.
#[derive(Clone, Debug)]
pub enum Crossing {
    /// None of them; why, in one sentence.
    Impossible(String),
    /// They cross, with a verdict on each part.
    Carried(Vec<Aspect>),
}

impl Crossing {
    /// Is this problem among what is lost?
    pub fn has(&self, problem: Problem) -> bool {
        match self {
            Crossing::Impossible(_) => false,
            Crossing::Carried(aspects) => aspects.iter().any(|aspect| aspect.problem == Some(problem)),
        }
    }

    /// Does anything cross?
    pub fn is_carried(&self) -> bool {
        matches!(self, Crossing::Carried(_))
    }

    /// What is lost in a few words, for a table: `all` when nothing is, `-` when nothing crosses.
    pub fn summary(&self) -> String {
        let Crossing::Carried(aspects) = self else { return "-".to_owned() };
        let mut words: Vec<&str> = Vec::new();
        for word in aspects.iter().filter_map(|aspect| aspect.problem).map(short) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        if words.is_empty() { "all".to_owned() } else { format!("not {}", words.join(", ")) }
    }
}

/// What a problem of a route takes away, as it stands after "not".
fn short(problem: Problem) -> &'static str {
    match problem {
        Problem::Binary => "bytes",
        Problem::BinaryType => "types of bytes",
        Problem::Arguments => "bare values",
        Problem::Empty => "empty bodies",
        Problem::Errors => "whole failures",
        Problem::Concurrency => "calls at once",
        Problem::Events => "as events",
        Problem::EventNames => "every name",
        Problem::Size => "large bodies",
        other => other.id(),
    }
}

/// Every ordered pair of these wires that the bridge can stand between, with default options.
///
/// # Errors
/// None of an adapter whose default options are right.
pub fn pairs(adapters: &Registry) -> Result<Vec<Pair>, AdapterError> {
    let known: Vec<&dyn Adapter> =
        adapters.names().filter_map(|name| adapters.get(name)).map(AsRef::as_ref).collect();
    let mut pairs = Vec::new();
    for from in known.iter().filter(|adapter| adapter.listens()) {
        for to in &known {
            let ways = Way::ALL.into_iter().map(|way| Ok((way, cross(way.file(*from, *to)?, adapters))));
            let ways = ways.collect::<Result<_, AdapterError>>()?;
            pairs.push(Pair { from: from.name(), to: to.name(), ways });
        }
    }
    Ok(pairs)
}

fn cross(file: String, adapters: &Registry) -> Crossing {
    let report = check(&Config::parse(Source::new("pairs", file)), adapters);
    match report.routes.into_iter().next() {
        Some(route) => Crossing::Carried(route.aspects),
        None => {
            let why = report.findings.into_iter().next().map(|finding| finding.text);
            Crossing::Impossible(why.unwrap_or_default())
        }
    }
}

/// The pairs as a Markdown table.
pub fn pairs_table(pairs: &[Pair]) -> String {
    let row = |first: String, cells: Vec<String>| format!("| {first} | {} |\n", cells.join(" | "));
    let mut table = row("from > to".to_owned(), Way::ALL.map(|way| way.as_str().to_owned()).into());
    table.push_str(&format!("|{}\n", "---|".repeat(1 + Way::ALL.len())));
    for Pair { from, to, ways } in pairs {
        let cells = ways.iter().map(|(_, crossing)| crossing.summary()).collect();
        table.push_str(&row(format!("{from} > {to}"), cells));
    }
    table
}

/// The pairs as lines of JSON, with every verdict in words.
pub(crate) fn lines(pairs: &[Pair]) -> impl Iterator<Item = Line> + '_ {
    let ways = pairs.iter().flat_map(|pair| pair.ways.iter().map(move |way| (pair, way)));
    ways.map(|(pair, (way, crossing))| {
        let line = Line::new().text("from", pair.from).text("to", pair.to).text("way", way.as_str());
        match crossing {
            Crossing::Impossible(why) => line.flag("carried", false).text("why", why),
            Crossing::Carried(aspects) => {
                let lost = aspects.iter().filter_map(|Aspect { name, text, problem, .. }| {
                    Some(format!("{name}: {text} [{}]", (*problem)?))
                });
                let lost =
                    JsonText::from_value(&lost.collect::<Vec<_>>()).unwrap_or_else(|_| JsonText::null());
                line.flag("carried", true).json("lost", &lost)
            }
        }
    })
}

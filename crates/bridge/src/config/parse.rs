//! From the text of a bridge file to its values; what is wrong on the way is noted, and the rest is read all the same.

use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::{
    Config, ENDPOINT_KEYS, EndpointConfig, KindFilter, MAX_ENDPOINTS, MAX_ROUTES, Role, RouteConfig, Verb,
};
use crate::finding::Problem;
use crate::nesting::{MAX_NESTING, too_deep};
use crate::read::{At, Reader, Table};
use crate::source::Source;

/// Most broken places told of one file; a file that is no TOML at all has one for every byte.
const MAX_SYNTAX_FINDINGS: usize = 20;

/// Longest drain.
const MAX_DRAIN: Duration = Duration::from_secs(600);
/// Least memory that connections may keep together.
const MIN_MEMORY_MIB: usize = 16;
/// Longest timeout of a route.
const MAX_TIMEOUT: Duration = Duration::from_secs(3_600);

impl Config {
    /// Reads a bridge file; whatever is wrong with it is found again in the report of [`check`](crate::check()).
    pub fn parse(source: Source) -> Self {
        let mut reader = Reader::new(&source);
        let mut parsed =
            Parsed { node: "polywire".to_owned(), drain: Duration::from_secs(30), ..Parsed::default() };
        let nested = too_deep(source.text());
        if let Some(span) = &nested {
            let line = reader.line(span);
            let text = format!("more than {MAX_NESTING} brackets are open");
            reader.findings.add(Problem::Syntax, line, text, "close the brackets of the lines before it");
        }
        let text = if nested.is_none() { source.text() } else { "" };
        let (document, mut errors) = DeTable::parse_recoverable(text);
        let line_of = |error: &toml::de::Error| error.span().map_or(0, |span| source.line(span.start));
        // A line that is broken in one way again and again is told once.
        errors.dedup_by(|next, last| next.message() == last.message() && line_of(next) == line_of(last));
        for error in errors.iter().take(MAX_SYNTAX_FINDINGS) {
            let line = line_of(error);
            let fix = "mend the TOML; text needs quotes, tables look like [endpoint.NAME] and [[route]]";
            reader.findings.add(Problem::Syntax, line, error.message().to_owned(), fix);
        }
        if let Some(more @ 1..) = errors.len().checked_sub(MAX_SYNTAX_FINDINGS) {
            let text = format!("{more} more places where the TOML is broken");
            reader.findings.add(Problem::Syntax, 0, text, "mend the others first");
        }
        // After a syntax error what was read is only good for telling where the error is.
        if errors.is_empty() && nested.is_none() {
            let top = Table { entries: document.get_ref(), place: "the file", line: 0 };
            reader.refuse_unknown(top, &["bridge", "endpoint", "route"]);
            read_bridge(&mut reader, top, &mut parsed);
            read_endpoints(&mut reader, top, &mut parsed);
            read_routes(&mut reader, top, &mut parsed);
        }
        let findings = reader.findings.into_sorted();
        let Parsed { node, drain, max_memory_bytes, endpoints, routes } = parsed;
        Self { source, node, drain, max_memory_bytes, endpoints, routes, findings }
    }
}

#[derive(Default)]
struct Parsed {
    node: String,
    drain: Duration,
    max_memory_bytes: Option<usize>,
    endpoints: Vec<EndpointConfig>,
    routes: Vec<RouteConfig>,
}

fn read_bridge(reader: &mut Reader<'_>, top: Table<'_>, parsed: &mut Parsed) {
    let Some(table) = reader.table(top, "bridge", "[bridge]", "a table") else { return };
    reader.refuse_unknown(table, &["node", "drain", "max_memory_bytes"]);
    if let Some(node) = reader.text(table, "node") {
        if node.value.is_empty() || node.value.len() > 64 || node.value.contains(char::is_control) {
            let text = format!("node = {:?} is not a name of 1 to 64 bytes", node.value);
            reader.findings.add(
                Problem::Value,
                node.line,
                text,
                "write a short name, such as node = \"den-1\"",
            );
        }
        parsed.node = node.value;
    }
    if let Some(drain) = reader.duration(table, "drain", MAX_DRAIN) {
        parsed.drain = drain;
    }
    parsed.max_memory_bytes = reader.size(table, "max_memory_bytes", MIN_MEMORY_MIB);
}

fn read_endpoints(reader: &mut Reader<'_>, top: Table<'_>, parsed: &mut Parsed) {
    if let Some(found) = reader.value(top, "endpoint")
        && !matches!(found.value, DeValue::Table(_))
    {
        let (text, fix) =
            ("`endpoint` has no names below it", "write [endpoint.NAME], with one pair of brackets");
        return reader.findings.add(Problem::Type, found.line, text, fix);
    }
    let Some(all) = reader.table(top, "endpoint", "[endpoint]", "a table") else {
        let fix = "add [endpoint.NAME] with protocol, role and address or listen";
        reader.findings.add(Problem::MissingKey, 0, "the file has no endpoint", fix);
        return;
    };
    if all.entries.len() > MAX_ENDPOINTS {
        let text = format!("{} endpoints exceed the {MAX_ENDPOINTS} a file may have", all.entries.len());
        reader.findings.add(Problem::Limit, all.line, text, "split the file");
        return;
    }
    for (name, value) in all.entries {
        let line = reader.line(&name.span());
        let name = name.get_ref();
        let place = format!("[endpoint.{name}]");
        match value.get_ref() {
            DeValue::Table(entries) => {
                let table = Table { entries, place: &place, line };
                parsed.endpoints.push(read_endpoint(reader, name, table));
            }
            _ => {
                let text = format!("`{name}` in [endpoint] is no endpoint");
                reader.findings.add(
                    Problem::Type,
                    line,
                    text,
                    format!("write {place} and its keys below it"),
                );
            }
        }
    }
}

fn read_endpoint(reader: &mut Reader<'_>, name: &str, table: Table<'_>) -> EndpointConfig {
    let protocol = reader.text(table, "protocol");
    if reader.value(table, "protocol").is_none() {
        reader.missing(table, "protocol", "\"...\", the name of a wire");
    }
    let roles = [("client", Role::Client), ("server", Role::Server)];
    let role = reader.word(table, "role", &roles).map(|role| role.value);
    if reader.value(table, "role").is_none() {
        reader.missing(table, "role", "\"client\" to dial, or \"server\" to listen");
    }
    let users = reader.table(table, "users", "users", "a table");
    EndpointConfig {
        name: name.to_owned(),
        line: table.line,
        protocol,
        role,
        address: role.and_then(|role| read_address(reader, table, role)),
        user: reader.text(table, "user").map(|user| user.value),
        path: reader.text(table, "path").map(|path| path.value),
        prefix: reader.text(table, "prefix").map(|prefix| prefix.value).unwrap_or_default(),
        required: reader.flag(table, "required").unwrap_or(false),
        timeout: reader.duration(table, "timeout", MAX_TIMEOUT),
        users: users.map(|users| reader.others(users, &[])).unwrap_or_default(),
        options: reader.others(table, &ENDPOINT_KEYS),
        secrets: Vec::new(),
    }
}

fn read_address(reader: &mut Reader<'_>, table: Table<'_>, role: Role) -> Option<At<String>> {
    let (key, other) = match role {
        Role::Client => ("address", "listen"),
        Role::Server => ("listen", "address"),
    };
    if let Some(found) = reader.value(table, other) {
        let text = format!("{} is a {} and has no `{other}`", table.place, role.as_str());
        reader.findings.add(Problem::Conflict, found.line, text, format!("write `{key}`, or change `role`"));
        return None;
    }
    if reader.value(table, key).is_none() {
        reader.missing(table, key, "\"127.0.0.1:50000\", or \"unix:/run/some.sock\"");
        return None;
    }
    let address = reader.text(table, key)?;
    let fault = match address.value.strip_prefix("unix:") {
        Some("") => Some("has no path"),
        Some(_) => None,
        None if address.value.contains('/') => Some("is more than a host and a port"),
        None => match address.value.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            None => Some("has no port"),
            Some(("", _)) => Some("has no host"),
            Some((_, Err(_))) => Some("has no port from 0 to 65535"),
            Some((_, Ok(0))) if role == Role::Client => Some("has port 0, which nobody can dial"),
            Some(_) => None,
        },
    };
    if let Some(fault) = fault {
        let text = format!("{key} = {:?} {fault}", address.value);
        let fix = "write \"127.0.0.1:50000\", a host and a port, or \"unix:\" and a path";
        reader.findings.add(Problem::Value, address.line, text, fix);
        return None;
    }
    Some(address)
}

fn read_routes(reader: &mut Reader<'_>, top: Table<'_>, parsed: &mut Parsed) {
    let Some(found) = reader.value(top, "route") else {
        let fix = "add [[route]] with from and to";
        reader.findings.add(Problem::MissingKey, 0, "the file has no route", fix);
        return;
    };
    let DeValue::Array(all) = found.value else {
        let text = "`route` is one table, which should be an array of tables";
        return reader.findings.add(Problem::Type, found.line, text, "write [[route]] with two brackets");
    };
    if all.len() > MAX_ROUTES {
        let text = format!("{} routes exceed the {MAX_ROUTES} a file may have", all.len());
        return reader.findings.add(Problem::Limit, found.line, text, "split the file, or use patterns");
    }
    for value in all {
        let line = reader.line(&value.span());
        match value.get_ref() {
            DeValue::Table(entries) => {
                let table = Table { entries, place: "[[route]]", line };
                parsed.routes.extend(read_route(reader, table));
            }
            _ => {
                let fix = "write [[route]] and its keys below it";
                reader.findings.add(Problem::Type, line, "an element of `route` is no table", fix);
            }
        }
    }
}

fn read_route(reader: &mut Reader<'_>, table: Table<'_>) -> Option<RouteConfig> {
    reader.refuse_unknown(table, &["name", "from", "to", "timeout", "binary", "wrap", "via", "allow_loop"]);
    let name = reader.text(table, "name");
    let timeout = reader.duration(table, "timeout", MAX_TIMEOUT);
    let base64 = reader.word(table, "binary", &[("reject", false), ("base64", true)]);
    let wrap = read_member(reader, table, "wrap");
    let via = read_member(reader, table, "via");
    let allow_loop = reader.flag(table, "allow_loop").unwrap_or(false);

    let end = "an endpoint and a name";
    let from = reader.table(table, "from", "`from`", end);
    if reader.value(table, "from").is_none() {
        reader.missing(table, "from", "{ endpoint = \"...\", match = \"...\" }");
    }
    let to = reader.table(table, "to", "`to`", end);
    if reader.value(table, "to").is_none() {
        reader.missing(table, "to", "{ endpoint = \"...\", call = \"...\" }");
    }
    let from = from.map(|from| {
        reader.refuse_unknown(from, &["endpoint", "match", "kind"]);
        let kinds =
            [("request", KindFilter::Request), ("event", KindFilter::Event), ("any", KindFilter::Any)];
        let kind = reader.word(from, "kind", &kinds).map(|kind| kind.value);
        (needed_text(reader, from, "endpoint"), needed_text(reader, from, "match"), kind)
    });
    let to = to.map(|to| {
        reader.refuse_unknown(to, &["endpoint", "call", "emit"]);
        let (call, emit) = (reader.text(to, "call"), reader.text(to, "emit"));
        if let (Some(_), Some(emit)) = (&call, &emit) {
            let text = "`to` has both `call` and `emit`";
            reader.findings.add(Problem::Conflict, emit.line, text, "keep one, or write two routes");
        }
        let endpoint = needed_text(reader, to, "endpoint");
        match (call, emit) {
            (Some(call), _) => (endpoint, Verb::Call, Some(call)),
            (None, Some(emit)) => (endpoint, Verb::Emit, Some(emit)),
            (None, None) => (endpoint, Verb::Same, None),
        }
    });
    let ((Some(from), Some(matches), kind), (Some(to), verb, target)) = (from?, to?) else { return None };
    Some(RouteConfig {
        name,
        line: table.line,
        from,
        matches,
        kind,
        to,
        verb,
        target,
        timeout,
        base64: base64.is_some_and(|base64| base64.value),
        wrap,
        via,
        allow_loop,
    })
}

fn needed_text(reader: &mut Reader<'_>, table: Table<'_>, key: &str) -> Option<At<String>> {
    if reader.value(table, key).is_none() {
        reader.missing(table, key, "\"...\"");
    }
    reader.text(table, key)
}

/// The name of a member of an object.
fn read_member(reader: &mut Reader<'_>, table: Table<'_>, key: &str) -> Option<String> {
    let member = reader.text(table, key)?;
    if member.value.is_empty() || member.value.len() > 64 || member.value.starts_with('$') {
        let text = format!("{key} = {:?} is not the name of a member", member.value);
        let fix = "write a name of 1 to 64 bytes that does not begin with `$`";
        reader.findings.add(Problem::Value, member.line, text, fix);
        return None;
    }
    Some(member.value)
}

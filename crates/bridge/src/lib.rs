//! Bridges one wire to another, by one TOML file of endpoints and routes.
//!
//! The bridge knows no wire. It sees `polywire-core`, and the adapters of a [`Registry`] by their names; what comes in at one
//! endpoint is found a route, given a name, a body and a deadline for the other wire, and sent on once. [`check`] tells before
//! the start what is wrong with a file and what of each message its wires lose; [`Bridge::start`] runs it.
//!
//! ```no_run
//! use polywire_bridge::{Bridge, Config, Registry, Source, check};
//! use polywire_core::Surroundings;
//!
//! # async fn example(adapter: impl polywire_core::Adapter) -> Result<(), Box<dyn std::error::Error>> {
//! let adapters = Registry::new().with(adapter);
//! let config = Config::parse(Source::read("bridge.toml".as_ref())?);
//! print!("{}", check(&config, &adapters).to_text());
//! let bridge = Bridge::start(&config, &adapters, Surroundings::real()).await?;
//! bridge.ready().await?;
//! // ... until it is time to go:
//! bridge.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # The file
//!
//! ```toml
//! [bridge]
//! node  = "den-1"                   # its name in lists of hops; default "polywire"
//! drain = "30s"                     # how long a shutdown waits for calls in flight; default 30s
//! max_memory_bytes = "1GiB"         # what all connections may keep together; default 512MiB, shared with the rest of the process
//!
//! [endpoint.robot]
//! protocol = "sockhop"              # an adapter of the registry
//! role     = "server"               # "server" listens, "client" dials and dials again
//! listen   = "127.0.0.1:50000"      # a client has address = "host:port"; both take "unix:PATH"
//! mode     = "auto"                 # every further key is an option of the adapter
//!
//! [endpoint.library]
//! protocol = "hpx"
//! role     = "client"
//! address  = "10.0.0.5:7007"
//! user     = "bridge"
//! password = "file:hpx.pass"        # secrets are named: env:NAME, or file:PATH beside this file
//! max_frame_bytes = "32MiB"         # limits are options of every adapter, by the names that refusals call them
//! prefix   = "hpx."                 # names of this endpoint as they stand in routes begin so
//! timeout  = "10s"                  # of calls to it where neither caller nor route says; default that of its wire's calls
//! required = true                   # the bridge is not ready without it; default false
//!
//! [[route]]
//! name    = "find"                  # for people; default what it matches
//! from    = { endpoint = "robot", match = "library.*", kind = "request" }
//! to      = { endpoint = "library", call = "hpx.*" }
//! timeout = "8s"
//! binary  = "base64"                # bytes onto a wire without bytes; default "reject"
//! wrap    = "value"                 # a body that is no object travels as {"value": body}
//! ```
//!
//! A server endpoint whose wire has a login takes `users = { NAME = "env:..." }`; guests come in where the adapter's options
//! let them. What a client endpoint logs in with is read from its file anew before every login. A route may also have
//! `via = "MEMBER"` and `allow_loop = true`, see below.
//!
//! # How messages are carried
//!
//! * **Routes.** The first route of the file that takes a message has it; one that an earlier route leaves nothing for is an
//!   error. A name has at most one `*`, which stands for any text and is handed on where the new name has a `*` too. `kind` is
//!   `request`, `event` or `any`; the default is what the verb makes. `call` makes requests and `emit` events, of either kind of
//!   message: the answer to a call made of an event is dropped, a request turned into an event is answered with an empty body
//!   once the event is queued. Without a verb, kind and name stay. A kind that one of the wires cannot carry is left to later
//!   routes. What no route takes is answered `not_found`, or counted. Where a wire's clients have requests only, what they mean
//!   for an event comes as a request, and `emit` makes an event of it.
//! * **Client endpoints** are dialled in the background. After three refused logins one attempt is made in 60 s, unless the wire
//!   takes a refusal for final, as HyperHQ does. One that is out is told in the log, with the reason, at most once in ten seconds,
//!   and so is its return. What is sent while there is no connection waits for it, within its deadline and the limits of the
//!   queue. The mark of a reconnect, [`GAP`](polywire_core::GAP), crosses only where a route spells out its name.
//! * **Server endpoints as targets.** A request goes to one of the connected peers, in turn; an event to all of them. Neither
//!   goes back to the peer it came from. With nobody connected a request fails `unavailable`.
//! * **Time.** A call has what its caller has left, at most the timeout of its route. A fiftieth of that, from 20 to 500 ms, is
//!   kept for the way back; with less than 50 ms left nothing is sent. Signs of progress on the other wire restart that timeout
//!   up to `progress_timeout`, as long as the caller waits.
//! * **At most once.** What was sent is never sent again. A failure says whether the other side may have acted; when a
//!   connection dies, the calls on it end at once.
//! * **Bodies** cross byte for byte. With `binary = "base64"` bytes travel as `{"$bytes":{"type":"T","b64":"..."}}` onto a
//!   wire that has none, and become bytes again on the way back; an object with the one member `$bytes` travels as `$$bytes`.
//!   A body that would be too large for the other wire is refused before it is encoded. Nothing is unwrapped on the way back. An
//!   answer without a body goes back as `null` where nothing would be silence.
//! * **Failures** keep code, words and raw detail of the application, and its word on sending again; what goes wrong in between is
//!   told without addresses and without words of the other side.
//!   Identity ends at the bridge: neither logins nor facts of one wire are handed to the other.
//! * **Loops** within one file are an error, also through an endpoint that dials another one of the same file, unless one of
//!   the routes says `allow_loop = true`. Between bridges, `via` names a member of object bodies that lists the bridges passed;
//!   a message stops at a bridge that is listed, or after [`MAX_HOPS`].
//! * **Slow receivers.** While its connection is up, an event waits for room, in order, and holds up its sender; a broadcast
//!   never waits, copies for slow peers are dropped and counted. Every message of a route is counted: received = ended under one
//!   [`Ending`] + running.
//!
//! Not here: retries, transforms, access rules, durable events, circuit breakers, reload. Progress is not handed on.
//!
//! # Decisions, with the road not taken
//! - **A body crosses as it is, or in a wrapper that can be undone.** Bytes travel as `{"$bytes":…}` only where a
//!   route asks for it, and an object that looks like one gets one more `$`. Wrapping a value as `{"value":…}` is a
//!   convention of the route and is not undone: an answer is the answer.
//! - **Hops are listed in the body, or not at all** (`via`): no wire has a place for a count, and a hidden one would
//!   be lost at the next foreign peer. Loops within one file are found before the start.
//! - **Identity ends at the bridge**, and so do facts of one wire. Handing logins on would make every endpoint as
//!   trusted as the weakest.
//! - **Losses are declared, not known.** The bridge knows no wire, so `Capabilities` says in words and flags what one
//!   carries and `Particulars` what it does besides; the check, the README's table of pairs and `tests/matrix*.rs` all
//!   read these, and the last holds them to it.
//! - **A route works in stripes.** Counters and uses of a route are written for every message, so each connection
//!   writes to one of sixteen; one counter for all is fought for by every processor. A task for each processor would
//!   give up the order of a connection.
//! - **One thread carries more than two.** A small call costs less time than moving its memory from one processor to another and
//!   back, so `polywire run` works on one thread; `TOKIO_WORKER_THREADS` gives it more, for large bodies that are sealed or
//!   compressed on many connections. A program that embeds a bridge brings its own runtime, and would do the same.
//! - **One try.** A retry at the bridge would run a call twice that its caller believes was made once.

// A peer reaches this code: it never panics.
#![deny(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod check;
mod config;
mod conversion;
mod counts;
mod error;
mod failure;
mod finding;
mod hops;
mod loops;
mod loss;
mod nesting;
mod outage;
mod pattern;
mod plan;
mod port;
mod read;
mod registry;
mod report;
mod resolve;
mod rule;
mod run;
mod secret;
mod snapshot;
mod source;
mod stripes;
mod table;

pub use check::check;
pub use config::{Config, MAX_ENDPOINTS, MAX_ROUTES, Role};
pub use counts::Ending;
pub use error::{NotReady, ReadError, StartError};
pub use finding::{Area, Finding, Problem, Severity};
pub use hops::MAX_HOPS;
pub use registry::Registry;
pub use report::{Aspect, Report, RouteReport, Verdict};
pub use run::Bridge;
pub use snapshot::{EndpointSnapshot, EndpointState, MemorySnapshot, RouteSnapshot, Snapshot};
pub use source::{MAX_FILE_BYTES, Source};

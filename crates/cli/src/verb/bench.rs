//! `polywire bench`: how fast a peer answers, in a closed loop or at a fixed rate.
//!
//! In the closed loop every worker calls again once it has its answer. At a rate, call number n is due at a moment fixed
//! beforehand, and its latency counts from that moment: a peer that stalls is charged for every call that had to wait, which
//! a latency counted from the sending would leave out.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use polywire_core::{Body, CallError, Caller, Request, Route};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::body::BodyArgs;
use crate::connect::connect;
use crate::exit::{Exit, Fault, exit_of};
use crate::histogram::Histogram;
use crate::output::Line;
use crate::target::Url;
use crate::verb::call::{nothing, or_print};
use crate::verb::{Context, duration, route};

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The peer, such as sockhop://127.0.0.1:50000
    url: String,
    /// The route to call
    route: String,
    #[command(flatten)]
    body: BodyArgs,
    /// Calls in flight at most
    #[arg(short, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    concurrency: u32,
    /// Calls a second, at moments fixed beforehand; without it as fast as answers come
    #[arg(short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// End after that many calls
    #[arg(short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    number: Option<u64>,
    /// End after this time; 10s when there is no -n either
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    span: Option<Duration>,
    /// Clients to spread the calls over
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    clients: u16,
    /// Longest time for connecting and for each call
    #[arg(long, value_parser = duration, default_value = "15s", value_name = "TIME")]
    timeout: Duration,
}

/// Runs the verb.
///
/// # Errors
/// When there is no connection, or any call had no answer.
pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Fault> {
    let url = Url::parse(&args.url, &context.adapters)?;
    let (route, body) = (route(args.route.clone())?, args.body.load()?);
    let mut clients = Vec::new();
    for _ in 0..args.clients {
        clients.push(or_print(connect(url.clone(), nothing()?, args.timeout).await)?);
    }
    let span = args.span.or(if args.number.is_none() { Some(Duration::from_secs(10)) } else { None });
    let start = Instant::now();
    let plan = Arc::new(Plan {
        route,
        body,
        timeout: args.timeout,
        start,
        end: span.map(|span| start + span),
        calls: args.number.unwrap_or(u64::MAX),
        gap: args.rate.map(|rate| Duration::from_secs(1) / rate),
        begun: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let mut workers = JoinSet::new();
    for caller in clients.iter().cycle().take(args.concurrency as usize) {
        workers.spawn(work(caller.client.caller().clone(), Arc::clone(&plan)));
    }
    let tally = collect(workers, &plan).await?;
    let seconds = start.elapsed().as_secs_f64();
    for connected in clients {
        connected.client.shutdown().await;
    }
    tally.line(&args, seconds).print()?;
    match &tally.worst {
        None => Ok(()),
        Some((exit, example)) => {
            let what =
                format!("{} of {} calls had no answer, such as: {example}", tally.failed, tally.calls());
            Err(Fault::new(*exit, what))
        }
    }
}

/// What every worker does, and how far all of them are.
struct Plan {
    route: Route,
    body: Body,
    timeout: Duration,
    start: Instant,
    end: Option<Instant>,
    calls: u64,
    /// The time between two calls at a rate.
    gap: Option<Duration>,
    begun: AtomicU64,
    ended: AtomicU64,
    stop: AtomicBool,
}

impl Plan {
    /// When the next call is due; `None` when there is none.
    fn next(&self) -> Option<Instant> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let due = match self.gap {
            Some(gap) => self.start + gap.mul_f64(number as f64),
            None => Instant::now(),
        };
        let over = number >= self.calls || self.end.is_some_and(|end| due >= end);
        (!over && !self.stop.load(Ordering::Relaxed)).then_some(due)
    }
}

/// What was measured.
#[derive(Default)]
struct Tally {
    latency: Histogram,
    failed: u64,
    failures: BTreeMap<&'static str, u64>,
    worst: Option<(Exit, String)>,
}

async fn work(caller: Caller, plan: Arc<Plan>) -> Tally {
    let mut tally = Tally::default();
    while let Some(due) = plan.next() {
        // Where a stop comes while a call is not due yet, it is not made any more.
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        if plan.stop.load(Ordering::Relaxed) {
            break;
        }
        let request = Request::new(plan.route.clone(), plan.body.clone()).timeout(plan.timeout);
        match caller.call(request).await {
            Ok(_) => tally.latency.record(due.elapsed()),
            Err(error) => tally.fail(&error),
        }
        plan.ended.fetch_add(1, Ordering::Relaxed);
    }
    tally
}

/// Waits for the workers, tells people how far they are, and lets Ctrl-C end the measurement early.
async fn collect(mut workers: JoinSet<Tally>, plan: &Plan) -> Result<Tally, Fault> {
    let mut tally = Tally::default();
    let show = std::io::stderr().is_terminal();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            worker = workers.join_next() => match worker {
                Some(Ok(part)) => tally.merge(part),
                Some(Err(error)) => return Err(Fault::new(Exit::Bug, error)),
                None => break,
            },
            _ = &mut interrupted, if !plan.stop.load(Ordering::Relaxed) => plan.stop.store(true, Ordering::Relaxed),
            _ = second.tick(), if show => {
                let (ended, after) = (plan.ended.load(Ordering::Relaxed), plan.start.elapsed());
                let _ = write!(std::io::stderr(), "\rpolywire: {ended} calls after {after:.0?} ");
            }
        }
    }
    if show {
        let _ = writeln!(std::io::stderr());
    }
    Ok(tally)
}

impl Tally {
    fn calls(&self) -> u64 {
        self.latency.count() + self.failed
    }

    fn fail(&mut self, error: &CallError) {
        self.failed += 1;
        *self.failures.entry(error.code().as_str()).or_default() += 1;
        self.worst.get_or_insert_with(|| (exit_of(error), error.to_string()));
    }

    fn merge(&mut self, other: Self) {
        self.latency.merge(&other.latency);
        self.failed += other.failed;
        for (code, count) in other.failures {
            *self.failures.entry(code).or_default() += count;
        }
        self.worst = self.worst.take().or(other.worst);
    }

    fn line(&self, args: &Args, seconds: f64) -> Line {
        let micros = |span: Duration| span.as_secs_f64() * 1e6;
        let at = |share| micros(self.latency.quantile(share));
        let latency = Line::new()
            .decimal("min", micros(self.latency.least()))
            .decimal("mean", micros(self.latency.mean()))
            .decimal("p50", at(0.5))
            .decimal("p90", at(0.9))
            .decimal("p99", at(0.99))
            .decimal("p99_9", at(0.999))
            .decimal("max", micros(self.latency.most()));
        let failures =
            self.failures.iter().fold(Line::new(), |line, (code, count)| line.number(code, *count));
        let line = Line::new()
            .flag("ok", self.failed == 0)
            .text("loop", if args.rate.is_some() { "open" } else { "closed" })
            .number("concurrency", args.concurrency)
            .number("clients", args.clients);
        let line = match args.rate {
            Some(rate) => line.number("rate", rate),
            None => line,
        };
        line.decimal("seconds", seconds)
            .number("calls", self.calls())
            .number("answered", self.latency.count())
            .number("failed", self.failed)
            .object("failures", failures)
            .decimal("calls_per_second", self.calls() as f64 / seconds.max(1e-9))
            .object("latency_us", latency)
    }
}

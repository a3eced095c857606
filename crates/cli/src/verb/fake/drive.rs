//! What is asked of the plugin, one thing after the other, and the verdicts.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use polywire_core::{
    Body, CallError, Close, Code, Endpoint, Event, JsonText, Limits, Observe, Peer, Request, Response, Route,
};
use polywire_hyperhq::{Farewell, Host, HostConfig, Process};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::faults::{Plan, Reluctant, Tapped};
use super::plugin::Plugin;
use super::transcript::{Seen, Transcript};
use super::{HyperHq, Silence};
use crate::exit::{Exit, Fault};
use crate::output::{Line, say, write_out};
use crate::{service, signals};

/// How far apart the ends of a program and of its connection may be, so that each is told as what it is.
const LOST: Duration = Duration::from_secs(1);
/// How long a plugin may take to end after its shutdown.
const END: Duration = Duration::from_secs(5);
/// Longest that a challenge is good for.
const CHALLENGE: Duration = Duration::from_secs(600);
/// Longest that a connection may take over its login; one that is cut may come again while the challenge is good.
const LOGIN: Duration = Duration::from_secs(60);

/// One verdict.
struct Check {
    name: &'static str,
    held: bool,
    words: String,
    hint: Option<&'static str>,
}

impl Check {
    fn held(name: &'static str, words: impl Into<String>) -> Self {
        Self { name, held: true, words: words.into(), hint: None }
    }

    fn failed(name: &'static str, words: impl Into<String>, hint: &'static str) -> Self {
        Self { name, held: false, words: words.into(), hint: Some(hint) }
    }
}

/// Tells who is logged in.
struct Arrivals(watch::Sender<Option<Peer>>);

impl Observe for Arrivals {
    fn connected(&self, peer: &Peer) {
        self.0.send_replace(Some(peer.clone()));
    }

    fn disconnected(&self, peer: &Peer, _: &Close) {
        self.0.send_if_modified(|there| there.take_if(|there| there.id() == peer.id()).is_some());
    }
}

/// The plugin's end: its exit code, or nothing when a signal ended it.
type Ended = Option<Option<i32>>;

/// The plugin as a process and as a peer.
struct Stage {
    host: Host,
    transcript: Arc<Transcript>,
    arrivals: watch::Receiver<Option<Peer>>,
    ended: watch::Receiver<Ended>,
    limit: Duration,
    execute: Option<JsonText>,
    /// What it asks for first is not answered.
    silent: bool,
    /// Files are given to whoever shows the session's token alone.
    require_file_token: bool,
}

/// Launches the plugin, drives it, and prints the verdicts.
///
/// # Errors
/// When the plugin cannot be launched, or a check did not hold.
pub(super) async fn run(args: HyperHq) -> Result<(), Fault> {
    let Plugin { mut launch, folder } = Plugin::of(&args)?;
    let transcript = Arc::new(Transcript::new(args.json));
    let (arrive, arrivals) = watch::channel(None);
    let host = listen(&args, &transcript, arrive).await?;
    if let Some(folder) = &folder {
        let wrong = |error| Fault::usage(format_args!("{}: {error}", folder.display()));
        host.serve_files(&launch.id, folder).map_err(wrong)?;
    }
    launch.port = host.port();
    let program = launch.program.display().to_string();
    // Heard before there is anything to end.
    let signal = signals::first();
    transcript.note(&format!("listening on port {}, starting {program} as {}", host.port(), launch.id));
    let process = host.launch(&launch).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied => {
                "it is no program that may be started: a script needs its interpreter, such as `-- python3 plugin.py`"
            }
            _ => "what stands after -- is a program and its arguments, such as `-- node plugin.js`",
        };
        Fault::usage(format_args!("cannot start {program}: {error}")).hint(hint)
    })?;
    let (end, ended) = watch::channel(None);
    let running = tokio::spawn(follow(process, Arc::clone(&transcript), end));
    let mut stage = Stage {
        host,
        transcript,
        arrivals,
        ended,
        limit: args.timeout,
        execute: args.execute.clone(),
        silent: args.faults.silent == Some(Silence::Data),
        require_file_token: !args.no_file_token,
    };
    let mut checks = Vec::new();
    let interrupted = tokio::select! {
        biased;
        () = signal => true,
        () = stage.drive(&args, &mut checks) => false,
    };
    stage.looks_back();
    // Ends the plugin where it still runs, and waits until that is done: this process may be gone in a moment.
    running.abort();
    let _ = running.await;
    if interrupted {
        say("a signal: the plugin is ended");
        let hint = "the verdicts so far stand above";
        checks.push(Check::failed("complete", "it was stopped before everything was asked", hint));
    }
    verdict(&checks, args.json)
}

async fn listen(
    args: &HyperHq,
    transcript: &Arc<Transcript>,
    arrive: watch::Sender<Option<Peer>>,
) -> Result<Host, Fault> {
    let library = service::hyperhq::routes().build().map_err(|error| Fault::new(Exit::Bug, error))?;
    let silent = |what| AtomicBool::new(args.faults.silent == Some(what));
    let handler =
        Reluctant { handler: library, silent: silent(Silence::Data), transcript: Arc::clone(transcript) };
    let endpoint =
        Endpoint { observer: Some(Arc::new(Arrivals(arrive))), ..Endpoint::new("hyperhq", handler) };
    let plan = Arc::new(Plan {
        transcript: Arc::clone(transcript),
        late: args.faults.late,
        deaf: silent(Silence::Login),
        duplicate: args.faults.duplicate,
        malformed: args.faults.malformed,
        cut: AtomicBool::new(args.faults.disconnect),
    });
    let config = HostConfig::default();
    let login_timeout = args.timeout.clamp(config.limits.login_timeout, LOGIN);
    let limits = Limits { login_timeout, ..config.limits };
    // The verdict on the login is the fake's; the host waits no less than a host does.
    let challenge_life = args.timeout.clamp(config.challenge_life, CHALLENGE);
    let require_file_token = !args.no_file_token;
    let config = HostConfig { challenge_life, limits, require_file_token, ..config };
    let host = Host::listen_around(config, endpoint, move |session| Tapped::new(session, Arc::clone(&plan)));
    host.await.map_err(|error| Fault::new(Exit::Connect, error))
}

/// Prints what the plugin prints, and tells its end.
async fn follow(mut process: Process, transcript: Arc<Transcript>, end: watch::Sender<Ended>) {
    while let Some(line) = process.line().await {
        transcript.printed(&line);
    }
    end.send_replace(Some(process.ended().await.ok().flatten()));
}

/// How a process ended, in words.
fn how(code: Option<i32>) -> String {
    code.map_or_else(|| "crashed or was killed".to_owned(), |code| format!("ended with code {code}"))
}

/// What a plugin does whose connection was lost.
const RETURN: &str =
    "a lost connection is no reason to end: connect again and emit `authenticate` with the last sessionToken";

/// The last request.
const SHUTDOWN: &str = "shutdown";

/// What a plugin does that was refused.
const CREDENTIALS: &str = "emit `authenticate` with {pluginId, challenge} as they stand in HYPERHQ_PLUGIN_ID and HYPERHQ_AUTH_CHALLENGE; after a lost connection with {pluginId, sessionToken}";

/// Why a plugin that runs is not logged in, and what it should do.
fn absence(seen: Seen, again: bool) -> (String, &'static str) {
    let (why, hint) = match (seen.refused, seen.connected) {
        (Some(why), _) => return (format!("the login was refused: {why}"), CREDENTIALS),
        _ if again => ("it did not log in again", RETURN),
        (None, true) if seen.logins > 0 => (
            "it asked once to be let in, got no answer, and did not ask again",
            "wait for `authenticated` for a time of your own, such as 10 s; then disconnect, connect again and emit `authenticate` anew",
        ),
        (None, true) => (
            "it connected and did not log in",
            "emit `authenticate` with {pluginId, challenge} as soon as Socket.IO says `connect`",
        ),
        (None, false) => (
            "nothing came from it",
            "connect a Socket.IO client of version 3 or 4 (2 is refused) to http://127.0.0.1 and the port in HYPERHQ_SOCKET_PORT",
        ),
    };
    (why.to_owned(), hint)
}

/// The plugin did not answer this because it has ended.
fn ended_before(method: &'static str, end: Ended) -> Check {
    let words = format!("it answers `{method}`: no, it {} before that", how(end.flatten()));
    let hint =
        "what it printed stands above; whatever comes from the host, a plugin runs until its `shutdown`";
    Check::failed(method, words, hint)
}

fn is_false(body: &Body) -> bool {
    matches!(body, Body::Json(text) if text.as_bytes().trim_ascii() == b"false")
}

/// What is said of a plugin that is gone before it has answered `shutdown`, which is no fault: plugins on the C# helper end that way.
fn leaves() -> Check {
    Check::held(SHUTDOWN, "it leaves on `shutdown`, without an answer")
}

impl Stage {
    async fn drive(&mut self, args: &HyperHq, checks: &mut Vec<Check>) {
        let Some(mut plugin) = self.logs_in("login", checks).await else { return };
        let empty = Body::Json(JsonText::from_validated("{}".into()));
        let settings = Body::Json(JsonText::from_validated(r#"{"settings":{},"pluginData":{}}"#.into()));
        if !self.answers(&plugin, "initialize", settings, checks).await
            || !self.answers(&plugin, "test", empty.clone(), checks).await
        {
            return;
        }
        let game = Body::Json(JsonText::from_validated(r#"{"gameId":"game-1"}"#.into()));
        self.host.broadcast(&Event::new(Route::from_static("gameLaunched"), game));
        let work = self.execute.clone().map_or_else(|| empty.clone(), Body::Json);
        if args.faults.disconnect {
            let cut = Request::new(Route::from_static("execute"), work.clone()).timeout(self.limit);
            // It is cut: only what comes after it is judged.
            let _ = plugin.call(cut).await;
            self.arrivals.mark_unchanged();
            let left = plugin.id();
            let gone = self.arrivals.wait_for(|there| there.as_ref().is_none_or(|there| there.id() != left));
            let _ = timeout(self.limit, gone).await;
            match self.logs_in("return", checks).await {
                Some(again) => plugin = again,
                None => return,
            }
        }
        if !self.answers(&plugin, "execute", work, checks).await
            || !self.answers(&plugin, SHUTDOWN, empty, checks).await
        {
            return;
        }
        self.ends(checks).await;
    }

    /// The plugin, once it is logged in.
    async fn logs_in(&mut self, name: &'static str, checks: &mut Vec<Check>) -> Option<Peer> {
        let began = Instant::now();
        let came = {
            let (arrivals, ended) = (&mut self.arrivals, &mut self.ended);
            let came = async {
                tokio::select! {
                    biased;
                    there = arrivals.wait_for(Option::is_some) => there.ok().and_then(|there| there.clone()).ok_or(None),
                    end = ended.wait_for(Option::is_some) => Err(end.ok().and_then(|end| *end)),
                }
            };
            timeout(self.limit, came).await
        };
        let again = name == "return";
        let words = if again { "it comes back and logs in again" } else { "it logs in" };
        match came {
            Ok(Ok(peer)) => {
                checks.push(Check::held(name, format!("{words} ({:.1?})", began.elapsed())));
                return Some(peer);
            }
            Ok(Err(end)) => {
                let (how, seen) = (how(end.flatten()), self.transcript.seen());
                let (why, hint) = match seen.refused {
                    Some(why) => (format!("no, the login was refused: {why}; then it {how}"), CREDENTIALS),
                    None if again => (format!("no, it {how} before that"), RETURN),
                    None => (
                        format!("no, it {how} before that"),
                        "what it printed stands above; its port, id and challenge are in HYPERHQ_SOCKET_PORT, HYPERHQ_PLUGIN_ID and HYPERHQ_AUTH_CHALLENGE",
                    ),
                };
                checks.push(Check::failed(name, format!("{words}: {why}"), hint));
            }
            Err(_) => {
                let (why, hint) = absence(self.transcript.seen(), again);
                let limit = self.limit;
                checks.push(Check::failed(name, format!("{words}: not within {limit:?}; {why}"), hint));
            }
        }
        None
    }

    /// Asks for one method; `false` where nothing more can be asked.
    async fn answers(
        &mut self,
        plugin: &Peer,
        method: &'static str,
        data: Body,
        checks: &mut Vec<Check>,
    ) -> bool {
        let end = *self.ended.borrow();
        if end.is_some() {
            checks.push(ended_before(method, end));
            return false;
        }
        let request = Request::new(Route::from_static(method), data).timeout(self.limit);
        let began = Instant::now();
        let mut call = std::pin::pin!(plugin.call(request));
        let first = tokio::select! {
            biased;
            answer = &mut call => Some(answer),
            _ = self.ended.wait_for(Option::is_some) => None,
        };
        let answer = match first {
            Some(answer) => Ok(answer),
            // What it said before it ended may be on its way yet: the call ends with that, or with the connection.
            None => timeout(LOST, call).await,
        };
        let Ok(answer) = answer else {
            checks.push(if method == SHUTDOWN {
                leaves()
            } else {
                ended_before(method, *self.ended.borrow())
            });
            return method == SHUTDOWN;
        };
        let asked_for = method == "execute" && self.execute.is_some();
        if method == SHUTDOWN {
            let farewell = Farewell::from(answer.clone());
            if farewell == Farewell::Left || farewell == Farewell::Silent && self.ended.borrow().is_some() {
                checks.push(leaves());
                return true;
            }
        }
        let (check, goes_on) = match answer {
            Ok(Response { body, .. }) => {
                let took = began.elapsed();
                let what = if method == "test" && is_false(&body) {
                    "with false, which tells its user that the test failed "
                } else {
                    ""
                };
                (Check::held(method, format!("it answers `{method}` {what}({took:.1?})")), true)
            }
            // What `execute` means is the plugin's own; that it answers is what counts.
            Err(CallError::Failure(failure)) if method == "execute" && !asked_for => {
                let words = format!("it answers `execute`, with an error: {}", failure.message);
                (Check::held(method, words), true)
            }
            Err(CallError::Failure(failure)) => {
                let words = format!("it answers `{method}`: with an error: {}", failure.message);
                (Check::failed(method, words, "the words are the plugin's own"), true)
            }
            Err(error) if error.code() == Code::DeadlineExceeded && self.ended.borrow().is_none() => {
                let words = format!("it answers `{method}`: not within {:?}", self.limit);
                let hint = if self.silent {
                    "where you wait for data, wait for a time of your own, such as 30 s, and answer with {error: \"…\"} after it"
                } else {
                    "emit `response` with {id, type: \"response\", data} and the id of the request; `statusUpdate` in between gives more time"
                };
                (Check::failed(method, words, hint), true)
            }
            Err(CallError::NotSent(failure)) if failure.code != Code::Unavailable => {
                let words = format!("it answers `{method}`: it was not asked: {}", failure.message);
                (Check::failed(method, words, "ask for something that a plugin can be sent"), false)
            }
            Err(_) => match timeout(LOST, self.ended.wait_for(Option::is_some)).await {
                Ok(end) => (ended_before(method, end.ok().and_then(|end| *end)), false),
                Err(_) => {
                    let words =
                        format!("it answers `{method}`: no, its connection was lost, and it still runs");
                    let hint = "a plugin leaves its connection only after `shutdown`";
                    (Check::failed(method, words, hint), false)
                }
            },
        };
        checks.push(check);
        goes_on
    }

    async fn ends(&mut self, checks: &mut Vec<Check>) {
        let end = timeout(END, self.ended.wait_for(Option::is_some)).await;
        checks.push(match end.map(|end| end.ok().and_then(|end| *end).flatten()) {
            Ok(Some(0)) => Check::held("end", "it ends after its shutdown, with code 0"),
            Ok(code) => Check::failed(
                "end",
                format!("it ends after its shutdown with code 0: it {}", how(code)),
                "a shutdown is no failure: exit with 0",
            ),
            Err(_) => Check::failed(
                "end",
                format!("it ends after its shutdown: it still ran {END:?} later, and was killed"),
                "answer `shutdown`, disconnect, and let the process end",
            ),
        });
    }

    /// What is worth knowing besides the verdicts, however it ended.
    fn looks_back(&self) {
        let seen = self.transcript.seen();
        let again = seen.answered_again();
        if !again.is_empty() {
            let again = again.into_iter().collect::<Vec<_>>().join(", ");
            let what = "where a method changes something, remember the ids of requests that were answered";
            self.transcript.note(&format!("it answered one request more than once ({again}): {what}"));
        }
        let count = seen.strays();
        if count > 0 {
            let what = "copy it as it is, a text";
            self.transcript.note(&format!("answers without the `id` of a request: {count}; {what}"));
        }
        if seen.printed_secret {
            let what = "whoever reads them can log in as it; print at most their length";
            self.transcript.note(&format!("it printed what looks like its challenge or token: {what}"));
        }
        if seen.tokenless && self.require_file_token {
            let what = "send it with `requestFile`, as the guide demands; for a plugin on the C# helper, which shows none, there is --no-file-token";
            self.transcript.note(&format!("it asked for a file without its `sessionToken`: {what}"));
        }
        for name in &seen.unknown {
            self.transcript.note(&format!("it sent `{name}`, which no host listens to"));
        }
    }
}

/// Prints the verdicts.
fn verdict(checks: &[Check], json: bool) -> Result<(), Fault> {
    let failed = checks.iter().filter(|check| !check.held).count();
    let mut words = String::from("\n");
    for Check { name, held, words: what, hint } in checks {
        if json {
            let line = Line::new().text("check", name).flag("held", *held).text("words", what);
            hint.iter().fold(line, |line, hint| line.text("hint", hint)).print()?;
            continue;
        }
        let mark = if *held { "pass" } else { "FAIL" };
        words.push_str(&format!("  {mark}  {what}\n"));
        if let Some(hint) = hint {
            words.push_str(&format!("        {hint}\n"));
        }
    }
    if json {
        Line::new().number("checks", checks.len() as u64).number("failed", failed as u64).print()?;
    } else {
        write_out(words.as_bytes())?;
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Fault::new(Exit::Findings, format_args!("{failed} of {} checks did not hold", checks.len())))
}

#[cfg(test)]
mod tests {
    use polywire_core::{Client, Router};
    use polywire_hyperhq::{Environment, Plugin as Dialled};

    use super::*;

    /// A stage and the plugin on it, logged in over a connection that outlives its process, of whose end `ended` tells.
    async fn stage(
        made: impl FnOnce(Dialled) -> Dialled,
        ended: watch::Receiver<Ended>,
    ) -> (Stage, Peer, Client) {
        let (arrive, mut arrivals) = watch::channel(None);
        let observer = Some(Arc::new(Arrivals(arrive)) as _);
        let endpoint = Endpoint { observer, ..Endpoint::new("hyperhq", Router::new().build().unwrap()) };
        let host = Host::listen(HostConfig::default(), endpoint).await.unwrap();
        let challenge = host.challenge("demo").unwrap();
        let environment = Environment::from(|name| match name {
            "HYPERHQ_PLUGIN_ID" => Some("demo".to_owned()),
            "HYPERHQ_SOCKET_PORT" => Some(host.port().to_string()),
            "HYPERHQ_AUTH_CHALLENGE" => Some(String::from_utf8(challenge.expose().to_vec()).unwrap()),
            _ => None,
        });
        let (client, _) = made(Dialled::new(environment.unwrap())).dial().unwrap();
        let plugin = arrivals.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        let transcript = Arc::new(Transcript::new(true));
        let limit = Duration::from_secs(10);
        let (silent, require_file_token) = (false, true);
        let stage =
            Stage { host, transcript, arrivals, ended, limit, execute: None, silent, require_file_token };
        (stage, plugin, client)
    }

    #[tokio::test]
    async fn a_plugin_that_has_ended_does_not_leave_on_shutdown() {
        // The end of its process is seen first.
        let (_end, ended) = watch::channel(Some(Some(0)));
        let (mut stage, plugin, _connection) = stage(|plugin| plugin, ended).await;
        let mut checks = Vec::new();
        assert!(!stage.answers(&plugin, SHUTDOWN, Body::Empty, &mut checks).await);
        let [Check { held: false, words, .. }] = &checks[..] else { panic!("it passed") };
        assert_eq!(words, "it answers `shutdown`: no, it ended with code 0 before that");
    }

    /// The end of a process and its last words come two ways.
    #[tokio::test]
    async fn an_answer_that_comes_after_the_end_of_its_process_was_seen_is_one() {
        let (end, ended) = watch::channel(None);
        let shutdown = move || {
            end.send_replace(Some(Some(0)));
            std::future::ready("bye")
        };
        let serving = |plugin: Dialled| plugin.handle(SHUTDOWN, shutdown).unwrap();
        let (mut stage, plugin, _connection) = stage(serving, ended).await;
        let mut checks = Vec::new();
        assert!(stage.answers(&plugin, SHUTDOWN, Body::Empty, &mut checks).await);
        let [Check { held: true, words, .. }] = &checks[..] else { panic!("it did not pass") };
        assert!(words.starts_with("it answers `shutdown` ("), "{words}");
    }

    #[tokio::test]
    async fn a_plugin_that_ends_before_the_time_of_a_call_is_over_was_not_too_slow() {
        let (end, ended) = watch::channel(None);
        let test = move || {
            end.send_replace(Some(Some(3)));
            std::future::pending::<&str>()
        };
        let (mut stage, plugin, _connection) =
            stage(|plugin: Dialled| plugin.handle("test", test).unwrap(), ended).await;
        stage.limit = LOST / 2;
        let mut checks = Vec::new();
        assert!(!stage.answers(&plugin, "test", Body::Empty, &mut checks).await);
        let [Check { held: false, words, .. }] = &checks[..] else { panic!("it passed") };
        assert_eq!(words, "it answers `test`: no, it ended with code 3 before that");
    }
}

//! One client for the length of a verb: dials once, and says what stood in the way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_core::{
    CallError, Client, ClientState, Close, Code, Endpoint, Handler, Observe, Outcome, Peer, Request,
};

use crate::exit::{Exit, Fault, exit_of, exit_of_close};
use crate::target::Url;

/// Longest wait for the end of a connection whose call was lost, to say why it ended.
const END_WAIT: Duration = Duration::from_secs(1);

/// A client that is connected and logged in.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The client.
    pub(crate) client: Client,
    ends: Arc<Ends>,
    url: Url,
}

/// Why the last connection ended.
#[derive(Debug, Default)]
struct Ends(Mutex<Option<Close>>);

impl Ends {
    fn last(&self) -> Option<Close> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: &Close) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.clone());
    }
}

impl Observe for Ends {
    fn connected(&self, _: &Peer) {}

    fn disconnected(&self, _: &Peer, reason: &Close) {
        self.set(reason);
    }

    fn turned_away(&self, reason: &Close) {
        self.set(reason);
    }
}

/// Dials `url` and waits until the client is ready; `handler` serves what the peer sends.
///
/// # Errors
/// At the first attempt that fails, or after `timeout`.
///
/// # Cancel safety
/// Dropping the future ends the client.
pub(crate) async fn connect(url: Url, handler: impl Handler, timeout: Duration) -> Result<Connected, Fault> {
    let ends = Arc::new(Ends::default());
    let mut endpoint = Endpoint::on(&*url.adapter, handler);
    endpoint.observer = Some(Arc::clone(&ends) as _);
    let client = url.adapter.dial(url.target.clone(), endpoint).await?;
    let connected = Connected { client, ends, url };
    match tokio::time::timeout(timeout, connected.first_attempt()).await {
        Ok(Ok(())) => Ok(connected),
        Ok(Err(why)) => Err(connected.fault(&why)),
        Err(_) => Err(connected.fault(&format!("not connected within {timeout:?}"))),
    }
}

impl Connected {
    /// Waits until the client is ready or its first attempt has failed.
    async fn first_attempt(&self) -> Result<(), String> {
        let mut state = self.client.watch();
        let settled = state.wait_for(|state| *state != ClientState::Connecting).await;
        match settled.as_deref() {
            Ok(ClientState::Ready) => Ok(()),
            Ok(ClientState::Waiting(why) | ClientState::Closed(why)) => Err(why.clone()),
            Ok(ClientState::Denied(refusal) | ClientState::Refused(refusal)) => Err(refusal.to_string()),
            _ => Err("the client is over".to_owned()),
        }
    }

    /// Calls the peer.
    ///
    /// # Errors
    /// The error of the call, and the exit code that says most about it.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up; the peer may have acted.
    pub(crate) async fn call(&self, request: Request) -> Result<polywire_core::Response, (CallError, Exit)> {
        let outcome: Outcome = self.client.caller().call(request).await;
        match outcome {
            Ok(response) => Ok(response),
            Err(error) => {
                let exit = self.exit_of(&error).await;
                Err((error, exit))
            }
        }
    }

    /// A call that was lost with its connection ends as that did, where the end says more.
    async fn exit_of(&self, error: &CallError) -> Exit {
        let lost = matches!(error, CallError::Unknown(failure) if failure.code == Code::Unavailable);
        if !lost {
            return exit_of(error);
        }
        let mut state = self.client.watch();
        // Whether it ends in time or not, what is known by then decides.
        let _ = tokio::time::timeout(END_WAIT, state.wait_for(|state| *state != ClientState::Ready)).await;
        self.ends.last().and_then(|close| exit_of_close(&close)).unwrap_or_else(|| exit_of(error))
    }

    /// The fault that explains why there is no connection.
    pub(crate) fn fault(&self, why: &str) -> Fault {
        let end = self.ends.last();
        let exit = end.as_ref().and_then(exit_of_close).unwrap_or(Exit::Connect);
        let detail = match end {
            Some(Close::Refused(refusal)) => refusal.data,
            _ => None,
        };
        let wire = self.url.adapter.name();
        let hint = match exit {
            Exit::Login => {
                "check user, secret, path and options of the URL; the peer decides who may come in".to_owned()
            }
            Exit::Protocol => format!("check that what listens there speaks {wire}, with the same options"),
            Exit::Limit => {
                "the peer sent more than the limit allows; an option of the URL may raise it".to_owned()
            }
            _ if self.url.adapter.listens() => format!(
                "check the address; `polywire serve {}` starts a peer there",
                self.url.at(&self.url.target.address)
            ),
            _ => "check the address, and that its server is running".to_owned(),
        };
        Fault { detail, ..Fault::new(exit, format_args!("{wire}: {why}")).hint(hint) }
    }
}

//! The bounds every adapter enforces, each one setting with its unit in the name.

use std::time::Duration;

use crate::failure::{Code, Failure, Retry};
use crate::json::JsonLimits;

/// Bounds of one connection and of the server that accepts it.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Largest frame or message received, in bytes; default 16 MiB, at most 1 GiB. No larger body is sent either: a call or an
    /// event is refused, an answer becomes a failure. What frames a body comes on top of it.
    pub max_frame_bytes: usize,
    /// Bounds on JSON text.
    pub json: JsonLimits,
    /// From accept to logged in, absolute; default 10 s, at most 60 s.
    pub login_timeout: Duration,
    /// Most bytes buffered from a peer that has not logged in, where the wire has a login; default 64 KiB.
    pub max_login_bytes: usize,
    /// A frame that was begun must be whole within this time; default 30 s.
    pub frame_timeout: Duration,
    /// A write that makes no progress for this long closes the connection; default 10 s.
    pub write_timeout: Duration,
    /// Most messages waiting to be written on one connection; default 1 024.
    pub max_queue_messages: usize,
    /// Most bytes waiting to be written on one connection: names, facts, and the memory that bodies and
    /// attachments keep; default 8 MiB. Answers are bound by it as calls and events are: while so much is encoded and not written, no
    /// handler of that connection goes on. The answer that reaches it is written whole.
    pub max_queue_bytes: usize,
    /// Most requests and events of one peer being handled at once; default 256.
    pub max_in_flight: usize,
    /// Bytes of memory that the bodies of those, and what is beside them, may keep before no more is taken; default 32 MiB. The one
    /// that reaches it is taken whole.
    pub max_in_flight_bytes: usize,
    /// Most calls of ours one peer may owe an answer; default 1 024.
    pub max_pending: usize,
    /// Default deadline of a call of ours; default 15 s, at most 1 h.
    pub call_timeout: Duration,
    /// Longest a call of ours may last whose timeout progress restarts again and again; default 10 min, at most 24 h. One that
    /// was given longer keeps its deadline.
    pub progress_timeout: Duration,
    /// Longest a handler may take before its caller is told `deadline_exceeded`; default 60 s.
    pub handler_timeout: Duration,
    /// Undecodable messages in a row that close a connection; default 16.
    pub max_bad_messages: u32,
    /// Undecodable messages within a minute that close a connection, whatever comes between them; default 100.
    pub max_bad_per_minute: u32,
    /// Pings, heartbeats and the like that one peer may send within a second once it is established; default 100.
    pub max_control_per_second: u32,
    /// Connections a server serves at once; default 16 384.
    pub max_connections: usize,
    /// Connections a server serves at once that have not logged in yet; default 256.
    pub max_strangers: usize,
    /// Connections a server serves at once from one address (IPv6: one 64-bit prefix) of another machine; default 64.
    pub max_connections_per_address: usize,
    /// Connections from other machines a server accepts within a second in the long run; default 200.
    pub max_accepts_per_second: u32,
    /// Connections from other machines a server accepts at once after a quiet time; default 400.
    pub max_accept_burst: u32,
    /// Logins of one address of another machine that may fail at once, the refused and those that break the wire's rules;
    /// default 20. Beyond it that address is not let in, for at most a minute after the last of them. Not counted are
    /// handshakes below the wire, logins that come too late and those that exceed a limit.
    pub max_failed_logins: u32,
    /// The same within a minute in the long run; default 10.
    pub max_failed_logins_per_minute: u32,
    /// How long a drain waits for calls in flight; default 30 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 16 << 20,
            json: JsonLimits::default(),
            login_timeout: Duration::from_secs(10),
            max_login_bytes: 64 << 10,
            frame_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            max_queue_messages: 1_024,
            max_queue_bytes: 8 << 20,
            max_in_flight: 256,
            max_in_flight_bytes: 32 << 20,
            max_pending: 1_024,
            call_timeout: Duration::from_secs(15),
            progress_timeout: Duration::from_secs(600),
            handler_timeout: Duration::from_secs(60),
            max_bad_messages: 16,
            max_bad_per_minute: 100,
            max_control_per_second: 100,
            max_connections: 16_384,
            max_strangers: 256,
            max_connections_per_address: 64,
            max_accepts_per_second: 200,
            max_accept_burst: 400,
            max_failed_logins: 20,
            max_failed_logins_per_minute: 10,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// A setting outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} = {value} is out of range: {rule}")]
pub struct LimitError {
    /// The setting.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
    /// What it may be.
    pub rule: &'static str,
}

impl Limits {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`LimitError`] naming the first setting out of range.
    pub fn validate(&self) -> Result<(), LimitError> {
        let size = |setting, value: usize, least: usize, most: usize, rule| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(LimitError { setting, value: value.to_string(), rule })
            }
        };
        let span = |setting, value: Duration, most: Duration, rule| {
            if !value.is_zero() && value <= most {
                Ok(())
            } else {
                Err(LimitError { setting, value: format!("{value:?}"), rule })
            }
        };
        size("max_frame_bytes", self.max_frame_bytes, 1_024, 1 << 30, "1 KiB to 1 GiB")?;
        size("max_json_depth", self.json.max_json_depth as usize, 1, 128, "1 to 128")?;
        size("max_json_keys", self.json.max_json_keys as usize, 1, 1 << 20, "1 to 1048576")?;
        size("max_json_number_bytes", self.json.max_json_number_bytes as usize, 1, 64 << 10, "1 to 64 KiB")?;
        span("login_timeout", self.login_timeout, Duration::from_secs(60), "more than 0, at most 60 s")?;
        size("max_login_bytes", self.max_login_bytes, 1_024, 1 << 20, "1 KiB to 1 MiB")?;
        span("frame_timeout", self.frame_timeout, Duration::from_secs(600), "more than 0, at most 10 min")?;
        span("write_timeout", self.write_timeout, Duration::from_secs(300), "more than 0, at most 5 min")?;
        size("max_queue_messages", self.max_queue_messages, 1, 65_536, "1 to 65536")?;
        size("max_queue_bytes", self.max_queue_bytes, 1_024, 1 << 30, "1 KiB to 1 GiB")?;
        size("max_in_flight", self.max_in_flight, 1, 65_536, "1 to 65536")?;
        size("max_in_flight_bytes", self.max_in_flight_bytes, 1_024, 1 << 30, "1 KiB to 1 GiB")?;
        size("max_pending", self.max_pending, 1, 65_536, "1 to 65536")?;
        span("call_timeout", self.call_timeout, Duration::from_secs(3_600), "more than 0, at most 1 h")?;
        let day = Duration::from_secs(86_400);
        span("progress_timeout", self.progress_timeout, day, "more than 0, at most 24 h")?;
        span(
            "handler_timeout",
            self.handler_timeout,
            Duration::from_secs(3_600),
            "more than 0, at most 1 h",
        )?;
        size("max_bad_messages", self.max_bad_messages as usize, 1, 1 << 20, "1 to 1048576")?;
        size("max_bad_per_minute", self.max_bad_per_minute as usize, 1, 1 << 20, "1 to 1048576")?;
        size("max_control_per_second", self.max_control_per_second as usize, 1, 1 << 20, "1 to 1048576")?;
        size("max_connections", self.max_connections, 1, 1 << 24, "1 to 16777216")?;
        size("max_strangers", self.max_strangers, 1, 1 << 24, "1 to 16777216")?;
        let per_address = self.max_connections_per_address;
        size("max_connections_per_address", per_address, 1, 1 << 24, "1 to 16777216")?;
        size("max_accepts_per_second", self.max_accepts_per_second as usize, 1, 1_000_000, "1 to 1000000")?;
        size("max_accept_burst", self.max_accept_burst as usize, 1, 1 << 20, "1 to 1048576")?;
        size("max_failed_logins", self.max_failed_logins as usize, 1, 1 << 20, "1 to 1048576")?;
        let per_minute = self.max_failed_logins_per_minute as usize;
        size("max_failed_logins_per_minute", per_minute, 1, 1 << 20, "1 to 1048576")?;
        span("drain_timeout", self.drain_timeout, Duration::from_secs(600), "more than 0, at most 10 min")
    }
}

/// Why a message or an answer of so many bytes is not sent: this side would not take it. `None` when it may go.
pub(crate) fn too_large(what: &str, bytes: usize, max_frame_bytes: usize) -> Option<Failure> {
    (bytes > max_frame_bytes).then(|| {
        let text = format!("{what} of {bytes} bytes exceeds max_frame_bytes = {max_frame_bytes}");
        Failure::new(Code::ResourceExhausted, text).with_retry(Retry::Never)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range_and_a_refusal_names_setting_value_and_rule() {
        assert_eq!(Limits::default().validate(), Ok(()));
        let wrong = Limits { max_frame_bytes: 2 << 30, ..Limits::default() };
        let text = wrong.validate().unwrap_err().to_string();
        assert_eq!(text, "max_frame_bytes = 2147483648 is out of range: 1 KiB to 1 GiB");
        assert!(Limits { call_timeout: Duration::ZERO, ..Limits::default() }.validate().is_err());
    }
}

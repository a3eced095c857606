//! Who may open a connection to a host: no page of a browser, and nobody who came by another name.
//!
//! A browser sends `Origin` with every WebSocket and lets any page open one to this machine; a name that is bound to 127.0.0.1
//! after the page was loaded shows in `Host`.

/// May a request with these headers be served? Origins in `allowed` may.
///
/// # Errors
/// Why not, in words for a log.
pub fn check(host: Option<&str>, origin: Option<&str>, allowed: &[String]) -> Result<(), &'static str> {
    if let Some(origin) = origin
        && !allowed.iter().any(|known| known.eq_ignore_ascii_case(origin))
    {
        return Err("its Origin is not among those allowed");
    }
    match host.map(name_of) {
        Some(name) if is_loopback(name) => Ok(()),
        Some(_) => Err("its Host is not this machine's loopback"),
        None => Err("it has no Host"),
    }
}

/// The name without the port.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(name, _)| name);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h22_only_this_machine_by_its_own_name_and_no_page_of_a_browser() {
        for host in ["127.0.0.1:52789", "localhost:52789", "LOCALHOST", "[::1]:52789", "127.1.2.3"] {
            assert_eq!(check(Some(host), None, &[]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:52789",
            "127.0.0.1.evil.example",
            "localhost.evil.example:1",
            "192.168.0.7",
            "",
            "[::2]:1",
            "[",
            ":",
        ] {
            assert!(check(Some(host), None, &[]).is_err(), "{host}");
        }
        assert!(check(None, None, &[]).is_err());
        let allowed = ["http://localhost:3000".to_owned()];
        for (origin, may) in [
            ("http://localhost:3000", true),
            ("http://localhost", false),
            ("null", false),
            ("https://evil.example", false),
        ] {
            assert_eq!(check(Some("localhost"), Some(origin), &allowed).is_ok(), may, "{origin}");
        }
        assert!(check(Some("localhost"), Some("http://localhost:3000"), &[]).is_err());
    }
}

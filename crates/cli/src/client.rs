//! The HTTP API as the commands use it.

use std::{io::BufRead, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::{Agent, Body, http::Response};

use crate::{args::Global, stack};

/// Longer than the API's own bound of 30 s on a request (API-5).
const TIMEOUT: Duration = Duration::from_secs(35);
const BODY_BYTES_MAX: u64 = 64 << 20;

/// A connection to one API as one principal.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
    timeout: Duration,
}

impl Client {
    /// The API that the flags name, else the one of the development stack.
    pub(crate) fn new(global: &Global) -> Result<Self> {
        let (base, token) = match &global.api {
            Some(api) => (api.clone(), global.token.clone()),
            None => {
                let addresses = stack::addresses(&stack::directory(global.dir.as_deref())?)?;
                (
                    addresses.api,
                    Some(global.token.clone().unwrap_or(addresses.token)),
                )
            }
        };
        Ok(Self::to(&base, token))
    }

    /// The API at `base`, with a bearer token.
    pub(crate) fn to(base: &str, token: Option<String>) -> Self {
        let config = Agent::config_builder();
        // A proxy of the environment has no business with this machine's own stack, least of all with its token.
        let config = if is_loopback(base) {
            config.proxy(None)
        } else {
            config
        };
        let agent = config
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .build();
        Self {
            agent: agent.into(),
            base: base.trim_end_matches('/').to_owned(),
            token,
            timeout: TIMEOUT,
        }
    }

    /// Waits no longer than this for an answer.
    pub(crate) fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// `GET path`, answered with status and JSON.
    pub(crate) fn get(&self, path: &str, query: &[(&str, String)]) -> Result<(u16, Value)> {
        let response = self.request(path, query, Some(self.timeout), None)?;
        self.json(response)
    }

    /// `GET path`, answered with text; any other status than 200 is an error.
    pub(crate) fn get_text(&self, path: &str, query: &[(&str, String)]) -> Result<String> {
        self.find_text(path, query)?.map_err(anyhow::Error::msg)
    }

    /// `GET path`, answered with text, or with what the API says of 404.
    pub(crate) fn find_text(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<std::result::Result<String, String>> {
        let mut response = self.request(path, query, Some(self.timeout), None)?;
        let status = response.status().as_u16();
        if status != 200 {
            let (status, problem) = self.json(response)?;
            let text = problem_text(status, &problem);
            if status != 404 {
                bail!("{text}");
            }
            return Ok(Err(text));
        }
        Ok(Ok(self.text(&mut response)?))
    }

    /// `POST path`, answered with status and JSON.
    pub(crate) fn post(
        &self,
        path: &str,
        query: &[(&str, String)],
        content_type: &str,
        body: &[u8],
    ) -> Result<(u16, String)> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.base))
            .config()
            .timeout_global(Some(self.timeout))
            .build();
        request = request
            .query_pairs(query.iter().map(|(name, value)| (*name, value.as_str())))
            .content_type(content_type);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.send(body).with_context(|| self.unreachable())?;
        let text = self.text(&mut response)?;
        Ok((response.status().as_u16(), text))
    }

    /// Calls `each` with every server-sent event (`event`, `id`, `data`) until it says stop or the stream ends; a
    /// heartbeat is an event without a name.
    pub(crate) fn events(
        &self,
        path: &str,
        query: &[(&str, String)],
        after: Option<&str>,
        mut each: impl FnMut(&str, &str, &str) -> Result<bool>,
    ) -> Result<()> {
        let response = self.request(path, query, None, after)?;
        if response.status().as_u16() != 200 {
            let (status, problem) = self.json(response)?;
            bail!("{}", problem_text(status, &problem));
        }
        let reader = std::io::BufReader::new(response.into_body().into_reader());
        let (mut event, mut id, mut data) = (String::new(), String::new(), String::new());
        for line in reader.lines() {
            let line = line.with_context(|| self.unreachable())?;
            match line
                .split_once(':')
                .map(|(field, value)| (field, value.strip_prefix(' ').unwrap_or(value)))
            {
                Some(("event", value)) => value.clone_into(&mut event),
                Some(("id", value)) => value.clone_into(&mut id),
                Some(("data", value)) => data.push_str(value),
                Some(("", _)) if !each("", &id, "")? => return Ok(()),
                Some(_) => {}
                None if line.is_empty() && !event.is_empty() => {
                    if !each(&event, &id, &data)? {
                        return Ok(());
                    }
                    event.clear();
                    data.clear();
                }
                None => {}
            }
        }
        Ok(())
    }

    fn request(
        &self,
        path: &str,
        query: &[(&str, String)],
        timeout: Option<Duration>,
        after: Option<&str>,
    ) -> Result<Response<Body>> {
        let mut request = self
            .agent
            .get(format!("{}{path}", self.base))
            .config()
            .timeout_global(timeout)
            .build();
        request = request.query_pairs(query.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        request.call().with_context(|| self.unreachable())
    }

    fn json(&self, mut response: Response<Body>) -> Result<(u16, Value)> {
        let status = response.status().as_u16();
        let text = self.text(&mut response)?;
        let value = serde_json::from_str(&text)
            .with_context(|| format!("{} answered {status} without JSON", self.base))?;
        Ok((status, value))
    }

    fn text(&self, response: &mut Response<Body>) -> Result<String> {
        let body = response.body_mut().with_config().limit(BODY_BYTES_MAX);
        body.read_to_string().with_context(|| self.unreachable())
    }

    fn unreachable(&self) -> String {
        format!(
            "no answer from {} (is the stack up? `logline dev` starts one)",
            self.base
        )
    }
}

fn is_loopback(base: &str) -> bool {
    let host = base
        .parse::<ureq::http::Uri>()
        .ok()
        .and_then(|uri| uri.host().map(str::to_owned));
    host.is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

/// A problem document (RFC 9457) as one line.
pub(crate) fn problem_text(status: u16, problem: &Value) -> String {
    let text = |name: &str| {
        problem
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let pointer = text("pointer");
    let at = if pointer.is_empty() {
        String::new()
    } else {
        format!(" at {pointer}")
    };
    format!("{} ({status}){at}: {}", text("code"), text("detail"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        for own in [
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://localhost",
        ] {
            assert!(is_loopback(own), "{own}");
        }
        for other in [
            "https://logline.example",
            "http://10.0.0.1:8080",
            "nonsense",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}

//! Server-sent events, as far as the API writes them: whole lines, one line of data a frame.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{Client, Response};

use crate::stack::Addresses;

/// A stream says that it lives more often than this.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The place to go on after.
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: Option<String>,
}

/// One connection to the stream of the timeline.
pub(crate) struct Stream {
    response: Response,
    parser: Parser,
}

impl Stream {
    /// Connects; goes on after the frame with the id `after`, else with what comes.
    pub(crate) async fn open(
        client: &Client,
        addresses: &Addresses,
        entity_type: &str,
        after: Option<&str>,
    ) -> Result<Self> {
        let url = format!(
            "{}/api/timeline/stream?entity_type={entity_type}",
            addresses.api
        );
        let mut request = client.get(url).bearer_auth(&addresses.token);
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let response = tokio::time::timeout(SILENCE_MAX, request.send())
            .await
            .context("the stream does not answer")??;
        ensure!(
            response.status().is_success(),
            "the stream answered {}",
            response.status()
        );
        Ok(Self {
            response,
            parser: Parser::default(),
        })
    }

    /// The next frame that says anything.
    pub(crate) async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.parser.frame() {
                return Ok(frame);
            }
            let chunk = tokio::time::timeout(SILENCE_MAX, self.response.chunk())
                .await
                .context("the stream is silent for longer than a heartbeat")??;
            match chunk {
                Some(chunk) => self.parser.take(&chunk),
                None => bail!("the stream ended"),
            }
        }
    }
}

/// What has come and makes no whole frame yet.
#[derive(Default)]
struct Parser(Vec<u8>);

impl Parser {
    fn take(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next frame with a field that we read; comments and others are passed over.
    fn frame(&mut self) -> Option<Frame> {
        loop {
            let end = self.0.windows(2).position(|pair| pair == b"\n\n")?;
            let block: Vec<u8> = self.0.drain(..end.saturating_add(2)).collect();
            let mut frame = Frame::default();
            for line in String::from_utf8_lossy(&block).lines() {
                let (field, value) = line.split_once(": ").unwrap_or((line, ""));
                let value = value.to_owned();
                match field {
                    "id" => frame.id = Some(value),
                    "event" => frame.event = Some(value),
                    "data" => frame.data = Some(value),
                    _ => {}
                }
            }
            if frame != Frame::default() {
                return Some(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_however_the_bytes_are_cut() {
        let text = b"retry: 1000\nid: 41\n\n: heartbeat\n\nevent: span\nid: 42\ndata: {\"this\":\"7: x\"}\n\n";
        let mut parser = Parser::default();
        let mut frames = Vec::new();
        for byte in text {
            parser.take(&[*byte]);
            frames.extend(parser.frame());
        }
        let [first, second] = frames.try_into().unwrap();
        assert_eq!((first.id.as_deref(), first.event), (Some("41"), None));
        assert_eq!(second.id.as_deref(), Some("42"));
        assert_eq!(second.event.as_deref(), Some("span"));
        assert_eq!(second.data.as_deref(), Some("{\"this\":\"7: x\"}"));
        assert_eq!(parser.frame(), None);
    }
}

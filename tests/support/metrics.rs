//! Asks the proxy's HTTP port and reads Prometheus text.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The body of `GET path`; an answer other than 200 is an error.
pub async fn fetch(port: u16, path: &str) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), exchange).await.context("no answer within 5 s")??;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "GET {path}: {}", head.lines().next().unwrap_or_default());
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Ok(dechunk(body));
    }
    Ok(body.to_owned())
}

fn dechunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some(chunk) = rest.get(..size) else { break };
        text.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    text
}

/// The sum of all samples of this name whose labels have every given `name="value"`.
pub fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    samples(text, name, labels).map(|(_, value)| value).sum()
}

fn samples<'t>(text: &'t str, name: &'t str, labels: &'t [&'t str]) -> impl Iterator<Item = (&'t str, f64)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (inside, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        let is_wanted = labels.iter().all(|label| inside.split(',').any(|one| one == *label));
        let value = value.split_whitespace().next()?.parse().ok()?;
        is_wanted.then_some((inside, value))
    })
}

/// A histogram over all label sets that match: its count, its sum in seconds, and the bucket bounds with their counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Observations.
    pub count: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Upper bound and cumulative count, by bound.
    pub buckets: Vec<(f64, f64)>,
}

impl Histogram {
    /// Reads one histogram.
    pub fn read(text: &str, name: &str, labels: &[&str]) -> Self {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (inside, value) in samples(text, &format!("{name}_bucket"), labels) {
            let bound = inside.split(',').find_map(|label| label.strip_prefix("le=\"")?.strip_suffix('"'));
            let bound = match bound {
                Some("+Inf") | None => f64::INFINITY,
                Some(number) => number.parse().unwrap_or(f64::INFINITY),
            };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some(bucket) => bucket.1 += value,
                None => buckets.push((bound, value)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { count: sum(text, &format!("{name}_count"), labels), sum: sum(text, &format!("{name}_sum"), labels), buckets }
    }

    /// The upper bound of the bucket that holds this share of the observations.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = self.count * share;
        self.buckets.iter().find(|(_, below)| *below >= wanted).map_or(0.0, |(bound, _)| *bound)
    }

    /// Observations above a bound of the histogram.
    pub fn above(&self, bound: f64) -> f64 {
        self.count - self.buckets.iter().filter(|(known, _)| *known <= bound).map(|(_, below)| *below).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE tidegate_held_statement_seconds histogram\n\
        tidegate_held_statement_seconds_sum{migration_id=\"1\",kind=\"read\"} 0.5\n\
        tidegate_held_statement_seconds_count{migration_id=\"1\",kind=\"read\"} 3\n\
        tidegate_held_statement_seconds_bucket{le=\"0.1\",migration_id=\"1\",kind=\"read\"} 2\n\
        tidegate_held_statement_seconds_bucket{le=\"1.0\",migration_id=\"1\",kind=\"read\"} 3\n\
        tidegate_held_statement_seconds_bucket{le=\"+Inf\",migration_id=\"1\",kind=\"read\"} 3\n\
        tidegate_held_statement_seconds_count{migration_id=\"1\",kind=\"write\"} 1\n\
        tidegate_held_statement_seconds_bucket{le=\"0.1\",migration_id=\"1\",kind=\"write\"} 0\n\
        tidegate_held_statement_seconds_bucket{le=\"1.0\",migration_id=\"1\",kind=\"write\"} 0\n\
        tidegate_held_statement_seconds_bucket{le=\"+Inf\",migration_id=\"1\",kind=\"write\"} 1\n\
        tidegate_sessions 7\n";

    #[test]
    fn samples_are_summed_over_labels() {
        assert_eq!(sum(TEXT, "tidegate_sessions", &[]), 7.0);
        assert_eq!(sum(TEXT, "tidegate_held_statement_seconds_count", &[]), 4.0);
        assert_eq!(sum(TEXT, "tidegate_held_statement_seconds_count", &["kind=\"write\""]), 1.0);
    }

    #[test]
    fn a_histogram_knows_its_quantiles_and_what_is_above() {
        let held = Histogram::read(TEXT, "tidegate_held_statement_seconds", &[]);
        assert_eq!((held.count, held.quantile(0.5), held.quantile(0.75)), (4.0, 0.1, 1.0));
        assert_eq!((held.above(1.0), held.above(0.1)), (1.0, 2.0));
    }
}

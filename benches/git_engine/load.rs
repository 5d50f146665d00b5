//! Closed-loop load: some connections, each sending its next request when the answer to the last has come.

use std::time::{Duration, Instant};

use crate::http::Connection;
use crate::pairs::{Costed, costed};
use crate::site::{Outcome, Site};
use crate::statistics::{median, percentile};

/// What one window of load showed.
pub(crate) struct Window {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Middle latency, in ms.
    pub(crate) middle: f64,
    /// Latency that 99 of 100 answers keep, in ms.
    pub(crate) p99: f64,
    /// The server's processor time for an answer, in ms.
    pub(crate) cpu: f64,
    /// Bytes of an answer, on average.
    pub(crate) bytes: f64,
}

/// Sends `one` (connection, thread, count) on `connections` connections for `length`. `one` returns the answer's bytes.
pub(crate) fn window(
    site: &Site,
    connections: usize,
    length: Duration,
    one: &(dyn Fn(&mut Connection, usize) -> Outcome<u64> + Sync),
) -> Outcome<Window> {
    let door = site.http.as_ref().ok_or("that server has no HTTP")?;
    let Costed { value: (latencies, bytes), cpu, wall } = costed(site, || {
        let end = Instant::now() + length;
        let results: Vec<Result<(Vec<f64>, u64), String>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|thread| scope.spawn(move || loop_until(&door.address, thread, connections, end, one)))
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|_| Err("a client thread died".into())))
                .collect()
        });
        let (mut latencies, mut bytes) = (Vec::new(), 0);
        for result in results {
            let (some, more) = result?;
            latencies.extend(some);
            bytes += more;
        }
        Ok((latencies, bytes))
    })?;
    let count = latencies.len().max(1) as f64;
    Ok(Window {
        rate: latencies.len() as f64 / wall.as_secs_f64(),
        middle: median(&latencies),
        p99: percentile(&latencies, 0.99),
        cpu: cpu.as_secs_f64() * 1e3 / count,
        bytes: bytes as f64 / count,
    })
}

fn loop_until(
    address: &str,
    thread: usize,
    threads: usize,
    end: Instant,
    one: &(dyn Fn(&mut Connection, usize) -> Outcome<u64> + Sync),
) -> Result<(Vec<f64>, u64), String> {
    let mut connection = Connection::open(address, None).map_err(|e| e.to_string())?;
    let (mut latencies, mut bytes) = (Vec::new(), 0);
    let mut number = thread;
    while Instant::now() < end {
        let begun = Instant::now();
        bytes += one(&mut connection, number).map_err(|e| e.to_string())?;
        latencies.push(begun.elapsed().as_secs_f64() * 1e3);
        number += threads;
    }
    Ok((latencies, bytes))
}

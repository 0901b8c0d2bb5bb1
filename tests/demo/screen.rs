//! What the demo writes: colours and a moving bar on a terminal, plain lines elsewhere.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::support::admin::Status;
use crate::support::load::Live;

/// Where everything is written.
pub struct Screen {
    is_terminal: bool,
    has_colour: bool,
}

impl Screen {
    pub fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self { is_terminal, has_colour: is_terminal && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.has_colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn title(&self, text: &str) {
        println!("\n{}\n", self.paint("1", text));
    }

    /// A line that the next one replaces; nothing where lines cannot be replaced.
    pub fn doing(&self, name: &str, text: &str) {
        if self.is_terminal {
            print!("\r\x1b[2K  {}  {}", self.paint("36", &format!("{name:<12}")), self.paint("2", text));
            let _ = std::io::stdout().flush();
        }
    }

    pub fn clear(&self) {
        if self.is_terminal {
            print!("\r\x1b[2K");
        }
    }

    pub fn said(&self, name: &str, text: &str) {
        self.clear();
        println!("  {}  {text}", self.paint("36", &format!("{name:<12}")));
    }

    pub fn command(&self, text: &str) {
        self.clear();
        println!("\n  {} {}\n", self.paint("2", "admin>"), self.paint("1", &format!("{text};")));
    }

    pub fn good(&self, text: &str) {
        println!("\n  {}\n", self.paint("1;32", text));
    }

    pub fn bad(&self, text: &str) {
        println!("\n  {}\n", self.paint("1;31", text));
    }

    /// One line of the report, marked by whether it is as it should be.
    pub fn fact(&self, name: &str, text: &str, is_good: Option<bool>) {
        let mark = match is_good {
            Some(true) => self.paint("32", "ok "),
            Some(false) => self.paint("1;31", "BAD"),
            None => "   ".to_owned(),
        };
        println!("  {mark} {}  {text}", self.paint("36", &format!("{name:<22}")));
    }

    /// Lets the application run for a while, with its rate on the screen.
    pub async fn count_down(&self, when: &str, time: Duration, live: &Arc<Live>) {
        let started = Instant::now();
        let before = live.statements.load(Ordering::Relaxed);
        let mut rate = 0.0;
        while started.elapsed() < time {
            tokio::time::sleep(Duration::from_millis(100)).await;
            rate = (live.statements.load(Ordering::Relaxed) - before) as f64 / started.elapsed().as_secs_f64();
            self.doing(when, &format!("{} statements a second", grouped(rate)));
        }
        self.said(when, &format!("{} statements a second, {} errors", grouped(rate), live.errors.load(Ordering::Relaxed)));
    }

    pub fn progress(&self, live: Arc<Live>) -> Progress {
        let bar = self.is_terminal.then(|| {
            let style = ProgressStyle::with_template("  {prefix:12.cyan}  {wide_bar:.green/dim} {percent:>3} %  {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─");
            ProgressBar::new(1).with_style(style)
        });
        let started = Instant::now();
        let statements = live.statements.load(Ordering::Relaxed);
        Progress {
            bar,
            live,
            phase: RefCell::default(),
            said: Cell::new(started),
            seen: Cell::new((started, statements)),
            rate: Cell::new(0.0),
        }
    }
}

/// The migration's progress.
pub struct Progress {
    bar: Option<ProgressBar>,
    live: Arc<Live>,
    phase: RefCell<String>,
    said: Cell<Instant>,
    seen: Cell<(Instant, u64)>,
    rate: Cell<f64>,
}

impl Progress {
    pub fn show(&self, status: &Status) {
        self.measure();
        let (copied, total) = (status.number("rows_copied"), status.number("rows_total").max(1.0));
        let errors = self.live.errors.load(Ordering::Relaxed);
        let numbers = format!(
            "{} rows, lag {} ms; application {} statements/s, {errors} errors",
            grouped(copied),
            grouped(status.number("lag_ms")),
            grouped(self.rate.get())
        );
        let is_new = *self.phase.borrow() != status.phase();
        match &self.bar {
            Some(bar) => {
                bar.set_length(total.max(copied) as u64);
                bar.set_position(copied as u64);
                bar.set_prefix(phase_for_people(status.phase()));
                bar.set_message(numbers);
            }
            None if is_new || self.said.get().elapsed() > Duration::from_secs(1) => {
                let percent = (copied / total.max(copied) * 100.0).floor();
                println!("  {:<12}  {percent:>3} %  {numbers}", phase_for_people(status.phase()));
                self.said.set(Instant::now());
            }
            None => {}
        }
        if is_new {
            status.phase().clone_into(&mut self.phase.borrow_mut());
        }
    }

    /// The application's rate over the last second or so.
    fn measure(&self) {
        let (then, before) = self.seen.get();
        let now = self.live.statements.load(Ordering::Relaxed);
        if then.elapsed() > Duration::from_millis(700) || self.rate.get() == 0.0 {
            self.rate.set((now - before) as f64 / then.elapsed().as_secs_f64().max(0.001));
            self.seen.set((Instant::now(), now));
        }
    }

    pub fn finish(&self, status: &Status) {
        if let Some(bar) = &self.bar {
            if status.phase() == "done" {
                bar.set_position(bar.length().unwrap_or(1));
            }
            bar.abandon();
        }
        println!();
    }
}

fn phase_for_people(phase: &str) -> String {
    phase.replace('_', " ")
}

/// A number with its thousands apart.
pub fn grouped(number: impl Into<f64>) -> String {
    let digits = format!("{:.0}", number.into());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time as people read it.
pub fn time(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds => format!("{:.1} ms", seconds * 1000.0),
    }
}

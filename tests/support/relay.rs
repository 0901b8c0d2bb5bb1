//! A TCP relay between the proxy and the server that loses statements, loses answers, goes silent, and leads to another server.
//!
//! It looks at the client's bytes only as far as it must: a login that names the engine's account, and the text of a rule.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::servers::ENGINE;

/// What happens to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It never reaches the server, and the connection breaks.
    Statement,
    /// The server does it and answers; the connection breaks instead of bringing the answer.
    Answer,
    /// It never reaches the server until the relay speaks again; nothing breaks. All of the engine's connections fall silent.
    Silence,
    /// The server does it at once, and all of the engine's connections fall silent before the answer.
    SilentAnswer,
}

#[derive(Debug, Default)]
struct Rule {
    text: String,
    loss: Option<Loss>,
    hits: u32,
}

#[derive(Debug)]
struct Shared {
    /// The server's port.
    target: AtomicU16,
    rule: Mutex<Rule>,
    /// The engine's connections that were there when this moved say nothing until it moves back.
    silent: watch::Sender<bool>,
}

/// One relay; it ends when dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Listens before a server's port.
    pub async fn start(server: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let target = AtomicU16::new(server);
        let shared = Arc::new(Shared { target, rule: Mutex::default(), silent: watch::channel(false).0 });
        let for_task = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = for_task.clone();
                tokio::spawn(async move {
                    let server = shared.target.load(Ordering::SeqCst);
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                        let _ = (client.set_nodelay(true), server.set_nodelay(true));
                        let _ = carry(client, server, &shared).await;
                    }
                });
            }
        });
        Ok(Self { port, shared, task })
    }

    /// `host:port` as the proxy's configuration wants it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on the address means the server at another port; connections that stand stay where they are.
    pub fn retarget(&self, server: u16) {
        self.shared.target.store(server, Ordering::SeqCst);
    }

    /// The next statement of the engine with this text in it is lost.
    pub fn lose(&self, text: &str, loss: Loss) {
        *self.rule() = Rule { text: text.to_owned(), loss: Some(loss), hits: 0 };
    }

    /// All of the engine's connections fall silent, or speak again. Those that are opened while it is silent are not silent.
    pub fn be_silent(&self, silent: bool) {
        self.shared.silent.send_replace(silent);
    }

    /// Waits until a statement was lost.
    pub async fn lost(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while self.rule().hits == 0 {
            ensure!(Instant::now() < until, "no statement with {:?} came by within {time:?}", self.rule().text);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn rule(&self) -> std::sync::MutexGuard<'_, Rule> {
        self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.silent.send_replace(false);
    }
}

impl Shared {
    fn loss_of(&self, bytes: &[u8]) -> Option<Loss> {
        let mut rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant = !rule.text.is_empty() && contains(bytes, rule.text.as_bytes());
        if !is_meant {
            return None;
        }
        rule.hits += 1;
        rule.loss.take()
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Carries one connection to its end.
async fn carry(mut client: TcpStream, mut server: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let (mut is_engine, mut is_first) = (false, true);
    let mut silent = shared.silent.subscribe();
    let was_silent = *silent.borrow_and_update();
    // A connection that was opened in the silence hears the next one only.
    let mut is_deaf = was_silent;
    let account = format!("{}\0", ENGINE.0);
    loop {
        if is_engine && !is_deaf && *silent.borrow() {
            let _ = silent.wait_for(|silent| !silent).await;
        }
        if is_deaf && !*silent.borrow() {
            is_deaf = false;
        }
        tokio::select! {
            read = client.read(&mut from_client) => {
                let length = read?;
                let bytes = from_client.get(..length).unwrap_or_default();
                if bytes.is_empty() {
                    return server.shutdown().await;
                }
                if is_first {
                    is_first = false;
                    is_engine = contains(bytes, account.as_bytes());
                }
                match if is_engine { shared.loss_of(bytes) } else { None } {
                    Some(Loss::Statement) => return Ok(()),
                    Some(Loss::Answer) => {
                        server.write_all(bytes).await?;
                        let _ = server.read(&mut from_server).await?;
                        return Ok(());
                    }
                    Some(Loss::Silence) => {
                        shared.silent.send_replace(true);
                        let _ = silent.wait_for(|silent| !silent).await;
                    }
                    Some(Loss::SilentAnswer) => {
                        server.write_all(bytes).await?;
                        shared.silent.send_replace(true);
                        continue;
                    }
                    None => {}
                }
                server.write_all(bytes).await?;
            }
            read = server.read(&mut from_server) => {
                let length = read?;
                if length == 0 {
                    return client.shutdown().await;
                }
                // Read before the silence fell or while it fell: an answer that is on its way is lost in it too.
                if is_engine && !is_deaf && *silent.borrow() {
                    let _ = silent.wait_for(|silent| !silent).await;
                }
                client.write_all(from_server.get(..length).unwrap_or_default()).await?;
            }
            _ = silent.changed() => {}
        }
    }
}

//! Settings read again while the proxy runs: what holds at once, and what needs a restart.

use super::Config;

/// Keys of `[listen]` that are looked at only at the start.
const AT_START: [&str; 4] = ["address", "threads", "socket", "reuse_port"];

/// What becomes of settings that were read again; keys as `[section] key`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloaded {
    /// The settings that hold now: new where they can be, old where not.
    pub config: Config,
    /// Keys that changed and hold for new connections.
    pub changed: Vec<String>,
    /// Keys that changed and need a restart.
    pub waiting: Vec<String>,
}

impl Config {
    /// Puts settings that were read again in the place of these, as far as that works without a restart.
    pub fn reloaded(&self, new: &Self) -> Reloaded {
        let mut config = self.clone();
        config.admin = new.admin.clone();
        config.listen = new.listen.clone();
        config.listen.address = self.listen.address;
        config.listen.threads = self.listen.threads;
        config.listen.socket.clone_from(&self.listen.socket);
        config.listen.reuse_port.clone_from(&self.listen.reuse_port);
        config.upstream = new.upstream.clone();
        config.upstream.address.clone_from(&self.upstream.address);
        let (mut changed, mut waiting) = (Vec::new(), Vec::new());
        for ((section, key, before), (_, _, after)) in self.entries().into_iter().zip(new.entries()) {
            // Passwords are hidden in the entries.
            let differs = match (section.as_str(), key.as_str()) {
                ("admin", "password") => self.admin.password != new.admin.password,
                ("upstream", "password") => self.upstream.password != new.upstream.password,
                _ => before != after,
            };
            if differs {
                let is_live = match section.as_str() {
                    "admin" => true,
                    "listen" => !AT_START.contains(&key.as_str()),
                    // Gates and migrations belong to the server that they began on.
                    "upstream" => key != "address",
                    _ => false,
                };
                if is_live { &mut changed } else { &mut waiting }.push(format!("[{section}] {key}"));
            }
        }
        Reloaded { config, changed, waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_holds_at_once_and_the_rest_is_named() {
        let old = Config::default();
        let mut new = Config::default();
        new.listen.max_connections = 7;
        new.listen.address = ([127, 0, 0, 1], 9).into();
        new.admin.password = "next".into();
        new.upstream.password = "other".into();
        new.upstream.address = "elsewhere:3306".into();
        new.upstream.compression = "zstd".into();
        new.copy.workers = 3;
        let reloaded = old.reloaded(&new);
        assert_eq!(reloaded.changed, ["[admin] password", "[listen] max_connections", "[upstream] compression", "[upstream] password"]);
        assert_eq!(reloaded.waiting, ["[copy] workers", "[listen] address", "[upstream] address"]);
        assert_eq!(reloaded.config.listen.max_connections, 7);
        assert_eq!(reloaded.config.admin.password, "next");
        assert_eq!((reloaded.config.upstream.password.as_str(), reloaded.config.upstream.compression.as_str()), ("other", "zstd"));
        assert_eq!(reloaded.config.upstream.address, old.upstream.address);
        assert_eq!((reloaded.config.listen.address, reloaded.config.copy.workers), (old.listen.address, old.copy.workers));
    }

    #[test]
    fn every_key_of_listen_holds_at_once_or_is_kept_for_the_start() {
        let new = Config::read(
            "[admin]\npassword = \"x\"\n[listen]\nsocket = \"/s\"\nthreads = 2\nreuse_port = \"on\"\nidle_timeout_s = 4",
            "x",
            &std::collections::BTreeMap::new(),
        );
        let reloaded = Config::default().reloaded(&new.expect("valid"));
        assert_eq!(reloaded.waiting, ["[listen] reuse_port", "[listen] socket", "[listen] threads"]);
        assert_eq!(reloaded.config.listen.idle_timeout_s, 4);
    }
}

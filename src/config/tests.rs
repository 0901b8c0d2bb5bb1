//! The file against the code, variables, and every refusal with its remedy.

use std::collections::BTreeMap;

use super::*;

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn with_password(text: &str) -> Result<Config, Error> {
    Config::read(text, "x.toml", &variables(&[("TIDEGATE_ADMIN_PASSWORD", "secret")]))
}

fn refusal(text: &str) -> String {
    with_password(text).expect_err("refused").to_string()
}

#[test]
fn the_shipped_file_says_exactly_the_defaults_and_has_every_key() {
    let text = include_str!("../../proxy-config.toml");
    let config: Config = toml::from_str(text).expect("parses");
    assert_eq!(config, Config::default());
    let table: toml::Table = toml::from_str(text).expect("parses");
    let mut written = 0;
    for (section, key, _) in Config::default().entries() {
        assert!(table[&section].get(&key).is_some(), "[{section}] {key} is missing in proxy-config.toml");
        written += 1;
    }
    assert_eq!(written, table.values().filter_map(toml::Value::as_table).map(toml::Table::len).sum::<usize>());
    let page = include_str!("../../docs/configuration.md");
    for (section, key, _) in Config::default().entries() {
        assert!(page.contains(&format!("| `{key}` |")), "[{section}] {key} is missing in docs/configuration.md");
    }
}

#[test]
fn every_key_can_be_overridden_by_its_variable() {
    let text = "[admin]\npassword = \"secret\"";
    let plain = Config::read(text, "x", &BTreeMap::new()).expect("valid");
    for (section, key, value) in Config::default().entries() {
        let other = match (key.as_str(), &value) {
            ("password_file", _) => continue, // has a test of its own
            ("tls", _) => continue,           // has tests of its own
            ("socket", _) => "/tmp/changed.sock".into(),
            ("proxy_protocol_networks", _) => "192.0.2.0/24".into(),
            ("reuse_port", _) => "on".into(),
            ("format", _) => "json".into(),
            ("compression", _) => "off".into(),
            ("level", _) => "debug".into(),
            ("replicas", _) => "db2:3306".into(),
            ("protocol", _) => "sentry".into(),
            ("strategy", _) => "copy".into(),
            ("fence", _) => "off".into(),
            ("address", _) => "127.0.0.9:7".into(),
            (_, toml::Value::Integer(number)) => (number + 2).to_string(),
            _ => "changed".to_owned(),
        };
        let name = format!("TIDEGATE_{}_{}", section.to_uppercase(), key.to_uppercase());
        let changed = Config::read(text, "x", &variables(&[(&name, &other)])).expect(&name);
        assert_ne!(changed, plain, "{name} changed nothing");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let text = refusal("[listen]\nadress = \"127.0.0.1:1\"\n");
    assert!(text.starts_with("x.toml, line 2: unknown field `adress`"), "{text}");
    assert!(text.contains("correct the name"), "{text}");
}

#[test]
fn a_misspelt_variable_is_refused_and_a_service_link_is_not() {
    let text = "[admin]\npassword = \"secret\"";
    let error = Config::read(text, "x", &variables(&[("TIDEGATE_UPSTREAM_ADRESS", "a:1")])).expect_err("misspelt").to_string();
    assert!(error.contains("TIDEGATE_UPSTREAM_ADDRESS"), "{error}");
    Config::read(text, "x", &variables(&[("TIDEGATE_ADMIN_SERVICE_HOST", "10.0.0.1"), ("TIDEGATE_X", "1")])).expect("ignored");
}

#[test]
fn wrong_values_are_refused_with_a_remedy() {
    let cases = [
        ("[listen]\naddress = \"localhost:6033\"", "IP address and a port"),
        ("[listen]\naddress = \"127.0.0.1\"", "IP address and a port"),
        ("[listen]\nmax_connections = 0", "lets nobody in"),
        ("[listen]\nlogin_timeout_s = 0", "must not be 0"),
        ("[listen]\nthreads = \"4\"", "without quotes"),
        ("[listen]\nthreads = -4", "line 2"),
        ("[http]\naddress = \"127.0.0.1:6033\"", "another port"),
        ("[upstream]\naddress = \"db\"", "host:port"),
        ("[upstream]\naddress = \"db:0\"", "host:port"),
        ("[upstream]\naddress = \"::1:3306\"", "host:port"),
        ("[upstream]\ntls = \"on\"", "\"verify-ca\""),
        ("[upstream]\ntls = \"verify-ca\"", "ca.pem"),
        ("[upstream]\ntls = \"required\"\ntls_key = \"k\"", "belong together"),
        ("[listen]\nsocket = \"here.sock\"", "begin it with /"),
        ("[listen]\nproxy_protocol_networks = \"10.0.0.0/8,lan\"", "\"lan\" is no network"),
        ("[listen]\nreuse_port = \"yes\"", "\"off\" or \"on\""),
        ("[listen]\ntls = \"on\"", "\"preferred\""),
        ("[listen]\ntls = \"preferred\"", "the proxy's certificate"),
        ("[listen]\ntls = \"required\"\ntls_cert = \"c\"", "its private key"),
        ("[upstream]\nuser = \"\"", "is empty"),
        ("[upstream]\nuser = \"tidegate_admin\"", "no account on the server"),
        ("[upstream]\nconnect_timeout_ms = 0", "must not be 0"),
        ("[cutover]\nmax_hold_ms = 100", "part of the hold"),
        ("[cutover]\nmax_hold_ms = 90000", "60000 or less"),
        ("[cutover]\ndrain_budget_ms = 0", "must not be 0"),
        ("[log]\nformat = \"xml\"", "\"text\" or \"json\""),
        ("[log]\nlevel = \"a=b=c\"", "is not a filter"),
        ("[listen\n", "line 1"),
    ];
    for (text, expected) in cases {
        let error = refusal(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn an_empty_admin_password_is_refused() {
    let error = Config::read("", "x", &BTreeMap::new()).expect_err("refused").to_string();
    assert!(error.contains("TIDEGATE_ADMIN_PASSWORD"), "{error}");
}

#[test]
fn a_password_comes_from_a_file_or_a_variable_and_never_from_both() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("password");
    std::fs::write(&path, "from the file\n").expect("written");
    let text = format!("[admin]\npassword_file = \"{}\"", path.display());
    let config = Config::read(&text, "x", &BTreeMap::new()).expect("valid");
    assert_eq!(config.admin.password, "from the file");
    let config = Config::read(&text, "x", &variables(&[("TIDEGATE_ADMIN_PASSWORD", "from the variable")])).expect("valid");
    assert_eq!(config.admin.password, "from the variable");
    let both = format!("{text}\npassword = \"x\"");
    assert!(Config::read(&both, "x", &BTreeMap::new()).expect_err("both").to_string().contains("only one"));
    let name = path.display().to_string();
    let config = Config::read("[admin]\npassword=\"x\"", "x", &variables(&[("TIDEGATE_ADMIN_PASSWORD_FILE", &name)])).expect("valid");
    assert_eq!(config.admin.password, "from the file");
    std::fs::write(&path, "\n").expect("written");
    assert!(Config::read(&text, "x", &BTreeMap::new()).expect_err("empty").to_string().contains("is empty"));
}

#[test]
fn no_password_is_ever_shown() {
    let text = "[admin]\npassword = \"hush-one\"\n[upstream]\npassword = \"hush-two\"";
    let config = Config::read(text, "x", &BTreeMap::new()).expect("valid");
    let shown = format!("{config:?} {:?}", config.entries());
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains(HIDDEN));
    let error = refusal("[upstream]\npassword = 918273").to_string();
    assert!(!error.contains("918273") && error.contains("double quotes"), "{error}");
    let error = refusal("[upstream]\npassword = hush");
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Some(std::path::Path::new("no-such-file.toml"))).expect_err("refused").to_string();
    assert!(error.contains("no-such-file.toml") && error.contains("--config"), "{error}");
}

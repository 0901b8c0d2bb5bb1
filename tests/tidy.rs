//! The shape of the source, checked: layers, sizes, and what has no place in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file before its tests.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function; the target is 70.
const FUNCTION_LINES_MAX: usize = 120;

/// Imports between neighbours of one layer, each for a reason; never in both directions.
const NEIGHBOURS: [(&str, &str); 2] = [
    // A gate drains by asking the census who is inside.
    ("gate", "census"),
    // A table's columns are mapped through the clauses of an ALTER.
    ("schema", "sql"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git"].contains(&name.as_str()) {
                files_below(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

struct Source {
    /// Its path below `src`.
    path: String,
    text: String,
    /// The text without its tests, with comments and the insides of strings blanked out.
    code: String,
}

impl Source {
    fn new(path: &str, text: String) -> Self {
        let code = without_tests(&bare(&text));
        Self { path: path.to_owned(), text, code }
    }

    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// How many times `super` leads from its items to the root.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        if self.path.ends_with("/mod.rs") { parts - 1 } else { parts }
    }

    fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}

/// The source files; files of tests only are left out.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    files_below(&root().join("src"), &mut found);
    let source = |path: PathBuf| {
        let name = path.strip_prefix(root().join("src")).unwrap().to_string_lossy().replace('\\', "/");
        Source::new(&name, fs::read_to_string(&path).unwrap())
    };
    let sources: Vec<Source> = found.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).map(source).collect();
    assert!(sources.len() > 20, "the source was not found");
    sources.into_iter().filter(|source| !source.is_test()).collect()
}

/// Blanks out comments, strings and characters; lines stay where they are.
fn bare(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let end = match letters[at] {
            '/' if letters.get(at + 1) == Some(&'/') => (at..letters.len()).find(|at| letters[*at] == '\n').unwrap_or(letters.len()),
            '/' if letters.get(at + 1) == Some(&'*') => closing(&letters, at + 2, &['*', '/']),
            'r' if !at.checked_sub(1).is_some_and(|before| letters[before].is_alphanumeric() || letters[before] == '_')
                || at > 0 && letters[at - 1] == 'b' =>
            {
                let hashes = letters[at + 1..].iter().take_while(|letter| **letter == '#').count();
                if letters.get(at + 1 + hashes) == Some(&'"') {
                    let mut close = vec!['"'];
                    close.extend(std::iter::repeat_n('#', hashes));
                    closing(&letters, at + 2 + hashes, &close)
                } else {
                    at
                }
            }
            '"' => quoted(&letters, at),
            '\'' if letters.get(at + 1) == Some(&'\\') || letters.get(at + 2) == Some(&'\'') => quoted(&letters, at),
            _ => at,
        };
        if end == at {
            out.push(letters[at]);
            at += 1;
        } else {
            out.extend(letters[at..end].iter().map(|letter| if *letter == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn closing(letters: &[char], from: usize, close: &[char]) -> usize {
    (from..letters.len()).find(|at| letters[*at..].starts_with(close)).map_or(letters.len(), |at| at + close.len())
}

fn quoted(letters: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < letters.len() && letters[at] != letters[start] {
        at += if letters[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(letters.len())
}

/// The end of the item that starts here: past its closing brace, or its semicolon.
fn item_end(code: &str, start: usize) -> usize {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (at, letter) in code[start..].char_indices() {
        match letter {
            '{' => braces += 1,
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return start + at + 1;
                }
            }
            ';' if braces == 0 && brackets == 0 => return start + at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Takes out each item under `#[cfg(test)]`; what follows moves up.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        rest = &rest[item_end(rest, at + "#[cfg(test)]".len())..];
    }
    out + rest
}

fn identifier(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    &text[..end]
}

/// The modules that a file names after `crate::`, also in `crate::{a, b::c}`.
fn named_modules(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].chars().next_back().is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
            continue;
        }
        let after = code[at + "crate::".len()..].trim_start();
        let Some(list) = after.strip_prefix('{') else {
            named.push(identifier(after).to_owned());
            continue;
        };
        let mut depth = 0_usize;
        let mut begins = true;
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !letter.is_whitespace() => {
                    named.push(identifier(&list[at..]).to_owned());
                    begins = false;
                }
                _ => {}
            }
        }
    }
    named
}

/// Tells whether `super::super::…` climbs up to the root, where the layers could not see it.
fn climbs_to_root(code: &str, depth: usize) -> bool {
    code.replace([' ', '\n'], "").contains(&"super::".repeat(depth))
}

/// Module → layer, from the table in `src/lib.rs`.
fn layers(lib: &str) -> BTreeMap<String, usize> {
    let mut layers = BTreeMap::new();
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | ")).filter(|row| row.starts_with('L') || row.starts_with("top"));
    for (layer, row) in rows.enumerate() {
        for part in row.split("[`").skip(1) {
            let twice = layers.insert(identifier(part).to_owned(), layer);
            assert!(twice.is_none(), "{} stands twice in the table of src/lib.rs", identifier(part));
        }
    }
    layers
}

/// What is wrong with a file's imports.
fn misplaced_imports(source: &Source, layers: &BTreeMap<String, usize>) -> Vec<String> {
    let own = source.module();
    let mut wrong = Vec::new();
    let Some(layer) = layers.get(own) else { return wrong };
    for named in named_modules(&source.code) {
        let Some(other) = layers.get(&named).filter(|_| named != own) else { continue };
        if other >= layer && !NEIGHBOURS.contains(&(own, named.as_str())) {
            wrong.push(format!("src/{} imports {named}, which is in the same layer or above", source.path));
        }
    }
    if climbs_to_root(&source.code, source.depth()) {
        wrong.push(format!("src/{} reaches the root by `super`: name the module after `crate`", source.path));
    }
    wrong
}

/// Functions that are too long: name and lines.
fn long_functions(code: &str) -> Vec<(String, usize)> {
    let mut long = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].chars().next_back().is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
            continue;
        }
        let name = identifier(&code[at + 3..]);
        let lines = code[at..item_end(code, at)].lines().count();
        if lines > FUNCTION_LINES_MAX && !name.is_empty() {
            long.push((name.to_owned(), lines));
        }
    }
    long
}

fn fails_if_any(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn modules_import_only_from_lower_layers() {
    let layers = layers(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    fails_if_any(&sources().iter().flat_map(|source| misplaced_imports(source, &layers)).collect::<Vec<_>>());
}

#[test]
fn neighbours_never_import_each_other() {
    for (one, other) in NEIGHBOURS {
        assert!(!NEIGHBOURS.contains(&(other, one)), "{one} and {other} import each other");
    }
}

#[test]
fn the_table_of_layers_names_every_module_once() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let in_table: Vec<String> = layers(&lib).into_keys().collect();
    let mut declared: Vec<String> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|name| identifier(name).to_owned()).collect();
    declared.sort();
    assert_eq!(in_table, declared);
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.code.trim_end().lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("src/{}: {lines} lines before its tests, {FILE_LINES_MAX} at most", source.path));
        }
        for (name, lines) in long_functions(&source.code) {
            wrong.push(format!("src/{}: {name} has {lines} lines, {FUNCTION_LINES_MAX} at most", source.path));
        }
    }
    fails_if_any(&wrong);
}

#[test]
fn nothing_outside_tests_may_panic_on_none() {
    let mut wrong = Vec::new();
    for source in sources() {
        for call in [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("] {
            let count = source.code.matches(call).count();
            if count > 0 {
                wrong.push(format!("src/{}: {count} times {call}", source.path));
            }
        }
        if source.code.contains("static mut") {
            wrong.push(format!("src/{}: a mutable static", source.path));
        }
    }
    fails_if_any(&wrong);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    fails_if_any(&silent.map(|source| format!("src/{} does not start with //!", source.path)).collect::<Vec<_>>());
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    // Put together here, so that this file does not name them either.
    let places = ["/wo rk/", "/ro ot/", "/ho me/", "crates .io", "pypi .org", "npmjs .org", "deb .debian", "index .docker"]
        .map(|place| place.replace(' ', ""));
    let mut files = Vec::new();
    files_below(root(), &mut files);
    let mut wrong = Vec::new();
    for path in files {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        // Lock files are cargo's; a container's own paths are no machine's.
        if name.ends_with("Cargo.lock") || name.starts_with("docker/") || name == ".git" {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| line.contains(place.as_str())) {
                wrong.push(format!("{name}:{}: {place}", number + 1));
            }
        }
    }
    fails_if_any(&wrong);
}

mod the_checks_themselves {
    use super::*;

    fn layers_of_two() -> BTreeMap<String, usize> {
        layers("//! | L0 | [`low`], [`beside`] |\n//! | L1 | [`middle`]: text |\n//! | top | [`high`] |\n")
    }

    fn wrong(path: &str, text: &str) -> usize {
        misplaced_imports(&Source::new(path, text.to_owned()), &layers_of_two()).len()
    }

    #[test]
    fn find_an_import_from_above() {
        assert_eq!(wrong("middle/a.rs", "use crate::high::X;"), 1);
        assert_eq!(wrong("middle.rs", "use crate::{low::{a, b}, high};"), 1);
        assert_eq!(wrong("middle/mod.rs", "fn f() { crate :: x(); crate::high::f() }"), 1);
        assert_eq!(wrong("low.rs", "use crate::beside::X;"), 1);
        assert_eq!(wrong("low.rs", "use super::high;"), 1);
        assert_eq!(wrong("low/deep/a.rs", "use super::super::super::high;"), 1);
    }

    #[test]
    fn let_an_import_from_below_pass() {
        assert_eq!(wrong("middle/a.rs", "use crate::low; use crate::middle::b; use super::c;"), 0);
        assert_eq!(wrong("middle.rs", "//! See [`crate::high`].\nconst A: &str = \"crate::high\";"), 0);
        assert_eq!(wrong("middle.rs", "#[cfg(test)]\nmod tests { use crate::high; }"), 0);
    }

    #[test]
    fn see_code_and_nothing_else() {
        let blanked = format!("a     \n{}'x{}h", " ".repeat(11), " ".repeat(14));
        assert_eq!(bare("a // b\n'c' \"d\\\"e\" 'x r#\"f\"#/* g */h"), blanked);
        assert_eq!(without_tests("a #[cfg(test)] mod t { x { } } b #[cfg(test)] use y; c"), "a  b  c");
    }

    #[test]
    fn find_a_long_function() {
        let long = format!("fn short() {{}}\nfn long(a: [u8; 3]) {{\n{}}}\n", "x;\n".repeat(FUNCTION_LINES_MAX));
        assert_eq!(long_functions(&long), [("long".to_owned(), FUNCTION_LINES_MAX + 2)]);
    }
}

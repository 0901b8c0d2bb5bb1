//! Guessing which command was meant.

/// Every command as its keywords, and as HELP writes it.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("MIGRATE", "MIGRATE [TABLE] db.t <alter specification> [WITH name = value, …]", "starts a migration; answers its id"),
    (
        "MIGRATE",
        "MIGRATE TABLE a.t <alter specification>, TABLE b.t <alter specification> [WITH …]",
        "the same with several tables, which are swapped at the same instant; answers one id for each",
    ),
    ("SHOW MIGRATIONS", "SHOW MIGRATIONS [LIKE 'db.pattern']", "all migrations: phase, rows, rate, lag, last error"),
    ("SHOW MIGRATION", "SHOW MIGRATION id", "one migration; end with \\G to read it from top to bottom"),
    ("PAUSE MIGRATION", "PAUSE MIGRATION id", "stops copying; changes are still applied"),
    ("RESUME MIGRATION", "RESUME MIGRATION id", "goes on copying, or tries again after parking"),
    ("CANCEL MIGRATION", "CANCEL MIGRATION id", "undoes everything; the table stays as it is"),
    ("CUTOVER MIGRATION", "CUTOVER MIGRATION id", "swaps now a migration that was started WITH postpone = true"),
    ("CUTOVER MIGRATION", "CUTOVER MIGRATION id FORCE", "the same; rolls back or ends whoever has been in its way for too long"),
    ("REVERT MIGRATION", "REVERT MIGRATION id", "swaps back to the table as it was, in the revert window; nothing written since is lost"),
    ("CLEANUP MIGRATION", "CLEANUP MIGRATION id", "ends the revert window and drops the table that is no longer wanted"),
    ("SHOW GATES", "SHOW GATES", "the gates before migrating tables: state, who is inside, who waits"),
    ("SHOW SESSIONS", "SHOW SESSIONS", "clients: transaction, waiting at a gate, statements"),
    ("SHOW BYPASS", "SHOW BYPASS", "who writes to a migrating table without going through the proxy"),
    ("SHOW CONFIG", "SHOW CONFIG", "the settings in force, without secrets"),
    ("SHOW STATUS", "SHOW STATUS [LIKE 'pattern']", "counters of this process"),
    ("SHOW VERSION", "SHOW VERSION", "what is running"),
    ("HELP", "HELP", "this list; in the mysql shell, which has a help of its own, SHOW HELP"),
];

/// The command whose keywords are nearest to these words, where one is near enough to be meant: its keywords and its form.
pub(super) fn nearest(words: &[String]) -> Option<(&'static str, &'static str)> {
    let mut best: Option<(usize, (&'static str, &'static str))> = None;
    for (keywords, form, _) in COMMANDS {
        let count = keywords.split(' ').count().min(words.len());
        let said = words.get(..count).unwrap_or_default().join(" ").to_uppercase();
        let distance = distance(&said, keywords);
        let allowed = (keywords.len() / 3).clamp(1, 3);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, (keywords, form)));
        }
    }
    best.map(|(_, command)| command)
}

/// Edits that turn one text into the other.
pub(super) fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (n, left) in one.chars().take(64).enumerate() {
        let mut diagonal = n;
        let mut last = n + 1;
        let mut next = vec![last];
        for (above, right) in row.iter().skip(1).zip(&other) {
            let change = diagonal + usize::from(left != *right);
            diagonal = *above;
            last = change.min(above + 1).min(last + 1);
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(text: &str) -> Option<&'static str> {
        nearest(&text.split(' ').map(str::to_owned).collect::<Vec<_>>()).map(|(_, form)| form)
    }

    #[test]
    fn slips_of_the_keyboard_find_their_command() {
        assert!(near("SHOW MIGRATONS").is_some_and(|form| form.starts_with("SHOW MIGRATIONS")));
        assert!(near("shwo gates").is_some_and(|form| form == "SHOW GATES"));
        assert!(near("MIGRAET TABLE a").is_some_and(|form| form.starts_with("MIGRATE")));
        assert!(near("CANCEL MIGRATON 7").is_some_and(|form| form == "CANCEL MIGRATION id"));
        assert_eq!(near("INSERT INTO t"), None);
        assert_eq!(near("SELECT x"), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}

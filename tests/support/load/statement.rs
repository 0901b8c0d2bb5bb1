//! The SQL of the application, each statement as text and as a prepared statement. Pure.

use mysql_async::{Params, Value};

/// What a row's text must be: it depends on everything that names the row and on its counter.
pub fn payload(client: i32, seq: i32, counter: i32) -> String {
    let filler = "abcdefghijklmnopqrstuvwxyz0123456789".repeat(1 + (seq as usize) % 3);
    format!("{client}/{seq}/{counter} {filler}")
}

/// The customer that an order belongs to after so many changes.
pub fn customer(client: i32, seq: i32, counter: i32) -> i32 {
    (client * 31 + seq * 7 + counter * 13).rem_euclid(5000)
}

/// A statement with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    fn new(sql: String, values: Vec<Value>) -> Self {
        Self { sql, values }
    }

    /// For the binary protocol.
    pub fn prepared(self) -> (String, Params) {
        (self.sql, Params::Positional(self.values))
    }

    /// For the text protocol.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.sql.len() + 64);
        let mut values = self.values.iter();
        for part in self.sql.split_inclusive('?') {
            match part.strip_suffix('?') {
                Some(before) => {
                    text.push_str(before);
                    text.push_str(&values.next().map(|value| value.as_sql(false)).unwrap_or_default());
                }
                None => text.push_str(part),
            }
        }
        text
    }
}

/// INSERT of a new row, its key from the counter.
pub fn insert(schema: &str, client: i32, seq: i32) -> Statement {
    Statement::new(
        format!("INSERT INTO `{schema}`.orders (customer_id, client, seq, amount, payload) VALUES (?, ?, ?, ?, ?)"),
        vec![customer(client, seq, 0).into(), client.into(), seq.into(), f64::from(seq % 1000).into(), payload(client, seq, 0).into()],
    )
}

/// One more change of a row; the server counts, so that a change that happens twice shows.
pub fn update(schema: &str, id: i64, client: i32, seq: i32, counter: i32) -> Statement {
    Statement::new(
        format!("UPDATE `{schema}`.orders SET counter = counter + 1, customer_id = ?, status = 'changed', payload = ? WHERE id = ?"),
        vec![customer(client, seq, counter).into(), payload(client, seq, counter).into(), id.into()],
    )
}

/// The same, and the row moves to another primary key.
pub fn change_key(schema: &str, id: i64, to: i64, client: i32, seq: i32, counter: i32) -> Statement {
    Statement::new(
        format!("UPDATE `{schema}`.orders SET id = ?, counter = counter + 1, customer_id = ?, payload = ? WHERE id = ?"),
        vec![to.into(), customer(client, seq, counter).into(), payload(client, seq, counter).into(), id.into()],
    )
}

/// DELETE of one row.
pub fn delete(schema: &str, id: i64) -> Statement {
    Statement::new(format!("DELETE FROM `{schema}`.orders WHERE id = ?"), vec![id.into()])
}

/// Inserts the row, or counts one change when it is there.
pub fn upsert(schema: &str, id: i64, client: i32, seq: i32, counter: i32) -> Statement {
    let (customer, payload) = (customer(client, seq, counter), payload(client, seq, counter));
    Statement::new(
        format!(
            "INSERT INTO `{schema}`.orders (id, customer_id, client, seq, counter, payload) VALUES (?, ?, ?, ?, 0, ?) \
             ON DUPLICATE KEY UPDATE counter = counter + 1, customer_id = VALUES(customer_id), payload = VALUES(payload)"
        ),
        vec![id.into(), customer.into(), client.into(), seq.into(), payload.into()],
    )
}

/// One row by its key.
pub fn read_one(schema: &str, id: i64) -> Statement {
    Statement::new(format!("SELECT seq, counter, customer_id, payload FROM `{schema}`.orders WHERE id = ?"), vec![id.into()])
}

/// A stretch of a client's rows by the second index.
pub fn read_range(schema: &str, client: i32, from: i32, to: i32) -> Statement {
    Statement::new(
        format!(
            "SELECT seq, counter, customer_id, payload FROM `{schema}`.orders WHERE client = ? AND seq BETWEEN ? AND ? ORDER BY seq, id"
        ),
        vec![client.into(), from.into(), to.into()],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_prepared_forms_say_the_same() {
        let statement = update("shop", -5, 1, 2, 3);
        let text = statement.text();
        assert!(text.contains("customer_id = 84") && text.ends_with("WHERE id = -5"), "{text}");
        assert!(!text.contains('?') && text.contains("payload = '1/2/3 abc"), "{text}");
    }

    #[test]
    fn a_row_text_differs_between_any_two_states() {
        assert_ne!(payload(1, 2, 3), payload(1, 2, 4));
        assert_ne!(payload(1, 23, 4), payload(12, 3, 4));
    }
}

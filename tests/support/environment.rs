//! What whoever starts a test or a bench asks for in the environment.

use std::str::FromStr;

/// The number in a variable; `otherwise` where there is none.
pub fn number<T: FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

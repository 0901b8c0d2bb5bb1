//! Reading SQL: just enough to know what a statement may touch. Pure.

pub mod alter;
pub mod ddl;
pub mod digest;
pub mod matcher;
pub mod references;
pub mod shape;
pub mod statement;
pub mod token;

//! What the projector reads from its environment, once, at start: the names of the read models' tables.

pub(crate) use millrace_runtime::variables::ReadModelTables as Config;

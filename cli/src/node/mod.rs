//! Reading the state of the node: from the agent, the endpoint records and the maps. The commands
//! evaluate it.

pub(crate) mod agent;
pub(crate) mod flows;
pub(crate) mod maps;
pub(crate) mod names;
pub(crate) mod programs;
pub(crate) mod records;

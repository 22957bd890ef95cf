//! What is on the node: what the agent tells, what the plugin has recorded, what the maps hold.
//! Reading only; what it means is for others to say.

pub(crate) mod agent;
pub(crate) mod flows;
pub(crate) mod maps;
pub(crate) mod names;
pub(crate) mod programs;
pub(crate) mod records;

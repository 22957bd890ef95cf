//! Network configurations for the plugin: a valid one, with the changes of a test.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::node::Node;

/// A network configuration. Defaults are what the agent writes.
#[derive(Clone, Debug)]
pub struct Config(Map<String, Value>);

impl Config {
    /// Version 1.1.0, one range set with this subnet.
    #[must_use]
    pub fn new(subnet: &str) -> Self {
        Self::with_ranges(json!([[{ "subnet": subnet }]]))
    }

    /// Version 1.1.0, one range set for each subnet: each pod gets an address of each.
    #[must_use]
    pub fn dual_stack(first: &str, second: &str) -> Self {
        Self::with_ranges(json!([[{ "subnet": first }], [{ "subnet": second }]]))
    }

    /// Version 1.1.0 with these range sets.
    #[must_use]
    pub fn with_ranges(ranges: impl Into<Value>) -> Self {
        let base = json!({
            "cniVersion": "1.1.0",
            "name": "pods",
            "type": "weir-cni",
            "ipam": { "type": "host-local", "ranges": ranges.into() },
        });
        match base {
            Value::Object(map) => Self(map),
            _ => Self(Map::new()),
        }
    }

    /// The first plugin of a list of configurations, with what libcni adds from the list.
    ///
    /// # Errors
    /// When the list has no plugin, version or name.
    pub fn from_list(list: &Value) -> Result<Self> {
        let plugin = list.get("plugins").and_then(|plugins| plugins.get(0));
        let Some(Value::Object(plugin)) = plugin else { bail!("no plugin in the list {list}") };
        let mut config = Self(plugin.clone());
        for key in ["cniVersion", "name"] {
            let value = list.get(key).with_context(|| format!("no {key} in the list {list}"))?;
            config = config.with(key, value.clone());
        }
        Ok(config)
    }

    /// Sets a key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// Sets a key of `ipam`.
    #[must_use]
    pub fn with_ipam(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.set_ipam(key, value.into());
        self
    }

    /// Sets a key of `runtimeConfig`, as a runtime does for a capability.
    #[must_use]
    pub fn with_runtime(mut self, key: &str, value: impl Into<Value>) -> Self {
        let runtime = self.0.entry("runtimeConfig").or_insert_with(|| json!({}));
        if let Value::Object(runtime) = runtime {
            runtime.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Removes a key.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.0.remove(key);
        self
    }

    /// Sets `cniVersion`.
    #[must_use]
    pub fn version(self, version: &str) -> Self {
        self.with("cniVersion", version)
    }

    /// A key's value, if it is a string.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// A key's value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The whole as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Puts every directory that the test did not set below the node's own, because tests run in
    /// parallel and share nothing.
    #[must_use]
    pub(super) fn with_directories_in(mut self, node: &Node) -> Self {
        let below = |name: &str| Value::from(node.dir().join(name).to_string_lossy().into_owned());
        for key in ["runDir", "pinDir"] {
            self.0.entry(key).or_insert_with(|| below(key));
        }
        let chosen = self.0.get("ipam").and_then(|ipam| ipam.get("dataDir")).is_some();
        if !chosen {
            self.set_ipam("dataDir", below("dataDir"));
        }
        self
    }

    fn set_ipam(&mut self, key: &str, value: Value) {
        if let Some(Value::Object(ipam)) = self.0.get_mut("ipam") {
            ipam.insert(key.to_owned(), value);
        }
    }
}

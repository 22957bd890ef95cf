//! Network configuration lists, the format of files in a CNI configuration directory.

use serde_json::{Map, Value, json};
use weir_tests::lab::Config;

/// The list whose only plugin has this configuration.
pub(crate) fn conflist(config: &Config) -> String {
    let mut plugin = match config.json() {
        Value::Object(plugin) => plugin,
        _ => Map::new(),
    };
    let (version, name) = (plugin.remove("cniVersion"), plugin.remove("name"));
    json!({ "cniVersion": version, "name": name, "plugins": [plugin] }).to_string()
}

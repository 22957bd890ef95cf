//! Standard input: whatever it holds, the output is one document of the specification.

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Cni, Config, Node, Stack, refused};

const VERBS: [&str; 5] = ["ADD", "DEL", "CHECK", "GC", "STATUS"];

fn setup() -> Result<(Node, Cni)> {
    let node = Node::new()?;
    let cni = Cni::new(&node, Config::new("10.1.0.0/24"))?;
    Ok((node, cni))
}

/// Inputs that are not JSON documents, with a name for the failure message.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let valid = Config::new("10.1.0.0/24").json().to_string();
    vec![
        ("empty", Vec::new()),
        ("white space", b" \n\t".to_vec()),
        ("a word", b"garbage".to_vec()),
        ("zeros", vec![0; 1000]),
        ("not UTF-8", b"\xff\xfe{\"name\":\"\xc3\x28\"}".to_vec()),
        ("not UTF-8 in a string", b"{\"cniVersion\":\"1.1.0\",\"name\":\"\xc3\x28\"}".to_vec()),
        ("half a document", valid.as_bytes()[..valid.len() / 2].to_vec()),
        ("two documents", format!("{valid}{valid}").into_bytes()),
        ("garbage behind the document", format!("{valid} x").into_bytes()),
        ("deeply nested", vec![b'['; 200_000]),
        ("5 MB of white space", vec![b' '; 5_000_000]),
        ("5 MB of letters", vec![b'a'; 5_000_000]),
    ]
}

#[test]
fn every_verb_refuses_invalid_json() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    for (name, bytes) in nonsense() {
        for verb in VERBS {
            let reply = cni.call(verb).pod(&pod).stdin(bytes.clone()).run();
            let reply = reply.with_context(|| format!("{verb} with {name}"))?;
            refused(reply.document(), 6).with_context(|| format!("{verb} with {name}"))?;
        }
    }
    cni.ensure_nothing_left()
}

#[test]
fn every_verb_refuses_json_that_is_not_an_object() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    for text in ["null", "[]", "42", "\"text\"", "true", "1e400"] {
        for verb in VERBS {
            let reply = cni.call(verb).pod(&pod).stdin(text).run()?;
            refused(reply.document(), 6).with_context(|| format!("{verb} with {text}"))?;
        }
    }
    cni.ensure_nothing_left()
}

#[test]
fn a_valid_document_that_is_too_large_is_refused() -> Result<()> {
    let (node, cni) = setup()?;
    let pod = node.pod("a")?;
    let padded = cni.reconfigured(|config| config.with("padding", "x".repeat(5_000_000)));
    for verb in VERBS {
        refused(padded.call(verb).pod(&pod).run()?.document(), 6)
            .with_context(|| verb.to_owned())?;
    }
    padded.ensure_nothing_left()?;
    let large = cni.reconfigured(|config| config.with("padding", "x".repeat(3_000_000)));
    large.add(&pod).map(drop)
}

#[test]
fn version_works_with_any_standard_input() -> Result<()> {
    let (_node, cni) = setup()?;
    let mut inputs = nonsense();
    for text in ["null", "[]", "{}", "{\"cniVersion\":7}", "{\"cniVersion\":\"0.1.0\"}"] {
        inputs.push((text, text.as_bytes().to_vec()));
    }
    for (name, bytes) in inputs {
        let reply = cni.call("VERSION").stdin(bytes).run().with_context(|| name.to_owned())?;
        let document = reply.document().with_context(|| name.to_owned())?;
        let version = document["cniVersion"].as_str().unwrap_or_default();
        ensure!(["1.1.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"].contains(&version), "{document}");
        ensure!(
            document["supportedVersions"].as_array().is_some_and(|v| v.len() == 5),
            "{document}"
        );
    }
    Ok(())
}

#[test]
fn closed_standard_input_is_treated_as_empty() -> Result<()> {
    let (node, _cni) = setup()?;
    let program = weir_tests::lab::binary("weir-cni")?;
    let run = |verb: &str| {
        node.command("sh")?
            .args(["-c", "exec \"$0\" <&-"])
            .arg(&program)
            .env("CNI_COMMAND", verb)
            .finish()
    };
    let version = run("VERSION")?;
    ensure!(version.status.success(), "{version:?}");
    let status = run("STATUS")?;
    ensure!(status.status.code() == Some(1), "{status:?}");
    let error: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    ensure!([5, 6].map(Some).contains(&error["code"].as_u64()), "{error}");
    Ok(())
}

#[test]
fn the_plugin_does_not_crash_when_its_output_cannot_be_written() -> Result<()> {
    let (node, _cni) = setup()?;
    let program = weir_tests::lab::binary("weir-cni")?;
    let finished = node
        .command("sh")?
        .args(["-c", "exec \"$0\" >/dev/full"])
        .arg(&program)
        .env("CNI_COMMAND", "VERSION")
        .finish()?;
    ensure!(finished.status.code().is_some(), "died: {finished:?}");
    ensure!(!finished.stderr.contains("panicked"), "{finished:?}");
    Ok(())
}

//! Names of network interfaces.

/// Checks an interface name by the rule of Linux.
///
/// # Errors
/// What is wrong, to be put behind the name of the field.
pub fn check(text: &str) -> Result<(), String> {
    if text.len() > 15 {
        return Err(format!("is {text:?}, longer than the 15 bytes of an interface name"));
    }
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
    if text.is_empty() || text == "." || text == ".." || text.contains(forbidden) {
        return Err(format!("is {text:?}, which is not an interface name"));
    }
    // The kernel has parameters of these names, which are for all interfaces and for later ones.
    if text == "all" || text == "default" {
        return Err(format!("is {text:?}, which the kernel does not allow as an interface name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_name_is_one_that_the_kernel_gives_a_link() {
        assert!(check("weir0").is_ok() && check("a.b-c_d").is_ok());
        for wrong in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-bytes-00", "all", "default"] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
    }
}

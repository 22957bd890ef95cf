//! The assertion that a type has no padding.

/// Asserts that a type is exactly as large as its fields, which are listed with it.
macro_rules! unpadded {
    ($name:ty: $($field:ty),+ $(,)?) => {
        const _: () = assert!(
            size_of::<$name>() == 0 $(+ size_of::<$field>())+,
            concat!(stringify!($name), " has padding, or a field that is not listed"),
        );
    };
}

pub(crate) use unpadded;

//! What nodes hand out and take back, and nobody looks into.

use std::fmt;

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Text that can be kept and given back later, also by another process: [`Self::as_str`] and [`Self::new`].
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// From its text. A node refuses one that it has not made.
            pub fn new(text: impl Into<String>) -> $name {
                $name(text.into())
            }

            /// Its text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<&$name> for $name {
            fn from(other: &$name) -> $name {
                other.clone()
            }
        }
    };
}

opaque! {
    /// What a read has seen of a key, or a write with it: a write that is given a context supersedes exactly that.
    Context
}

opaque! {
    /// Where a scan goes on.
    PageToken
}

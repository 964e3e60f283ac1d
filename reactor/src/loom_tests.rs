//! Models of the protocols; see each module.

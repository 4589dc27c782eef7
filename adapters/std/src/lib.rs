//! The desktop side of unstick.

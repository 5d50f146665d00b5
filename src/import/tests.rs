//! Tests of the whole import.

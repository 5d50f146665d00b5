//! Random operations on the store and on a simple model of it: both always answer alike.

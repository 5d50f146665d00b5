//! A cluster that misbehaves by script.

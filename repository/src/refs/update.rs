//! Moving refs by compare-and-swap, durably, beside plain git.

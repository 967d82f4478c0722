//! Launches a program in a sandbox: namespaces, mounts, capabilities, Landlock, filter.

//! cgroup v2: find, prove, create, limit, measure, freeze, kill.

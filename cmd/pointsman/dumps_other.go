//go:build !linux

package main

// forbidDumps does nothing: only on Linux can a process keep others of its user from its memory. Core files are the service
// manager's there.
func forbidDumps() error { return nil }

func forbidInheritedDumps() {}

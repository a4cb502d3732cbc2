//go:build !linux

package plugins

// hang blocks the call alone: what a hung process leads to is tested on Linux.
func hang() { select {} }

//go:build race

package engine

// raceEnabled tells whether the race detector, which drops what is pooled, is on.
func raceEnabled() bool { return true }

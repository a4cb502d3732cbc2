//go:build race

package policies

// raceEnabled tells whether the race detector, which keeps memory of its own, is on.
func raceEnabled() bool { return true }

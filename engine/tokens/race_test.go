//go:build race

package tokens

// raceEnabled tells whether the race detector, which drops what is pooled, is on.
func raceEnabled() bool { return true }

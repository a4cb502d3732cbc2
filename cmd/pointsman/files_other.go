//go:build !unix

package main

// fileLimit is how many descriptors the process may have; 0 if that is not known.
func fileLimit() int { return 0 }

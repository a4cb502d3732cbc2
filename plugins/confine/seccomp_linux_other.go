//go:build linux && !amd64 && !arm64

package confine

// noProcesses does nothing: the filter is written for two architectures.
func noProcesses() error { return nil }

//go:build !linux

package badgerdb

// unsyncedDir returns "": there is no file system in memory that every system of the kind has.
func unsyncedDir(string) string { return "" }

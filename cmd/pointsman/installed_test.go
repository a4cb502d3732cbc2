package main

import (
	"os"
	"path/filepath"
	"testing"
)

// installed returns an absolute path that the test set-up makes.
func installed(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		missing(t, path)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return absolute
}

// missing skips a test that lacks an installed client, which CI does not allow.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: run scripts/test-setup.sh", what)
	}
	t.Skipf("%s is missing: run scripts/test-setup.sh", what)
}

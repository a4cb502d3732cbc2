package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func clientModel(name string, tier int, rate string) string {
	return fmt.Sprintf(`
[[models]]
name = %q
tier = %d
credits_per_1k = %s
context_window = 200000
max_output = 128000
capabilities = ["tools", "json_schema"]
  [[models.deployments]]
  provider = "vendor"
  upstream = "up-%s"
  usd_in_per_1m = 1.0
  usd_out_per_1m = 2.0
`, name, tier, rate, name)
}

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

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestP15LowSpaceOfAGateway fills the disk up to the low-water mark of a gateway: what costs credits is refused with 503, never with
// 401 or 402; own keys and free models are served, the gateway is alive and ready, says what is wrong, and recovers by itself.
func TestP15LowSpaceOfAGateway(t *testing.T) {
	const fill = 512 << 20
	dir := t.TempDir()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	_, toml := upstreams(t, 1)
	toml += "[[models]]\nname = \"free\"\ntier = 0\ncredits_per_1k = 0\ncontext_window = 1000\nunpriced = \"free\"\ndeployments = [{ provider = \"up0\", upstream = \"f\" }]\n" +
		fmt.Sprintf("[storage]\nmin_free_mb = %d\nballast_mb = 8\n", int64(disk.Bavail)*disk.Bsize>>20-fill>>21)
	g := newGateway(t, toml, nil)
	own := g.account("own")
	own.storeKey(t, "sk-own-0123456789abcdef")
	ballast := filepath.Join(g.dataDir, "ballast")
	if _, err := os.Stat(ballast); err != nil {
		t.Error(err)
	}
	asks := func(what string, c *client, model string, status int, text string) {
		t.Helper()
		resp, body := c.post(t, chatPath, ask(model))
		if resp.StatusCode != status || !strings.Contains(body, text) || (status == 503) != (resp.Header.Get("Retry-After") != "") {
			t.Errorf("%s: %d %s", what, resp.StatusCode, body)
		}
	}
	until := func(problem bool) {
		t.Helper()
		for limit := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			_, body := g.api.send(t, "GET", "/health", nil)
			if strings.Contains(body, "the disk is nearly full") == problem {
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("ten seconds later: %s", body)
			}
		}
	}
	asks("with room", g.api, "m", 200, "")
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	if err := unix.Fallocate(int(filler.Fd()), 0, 0, fill); err != nil {
		t.Fatalf("filling the disk: %v", err)
	}
	until(true)
	asks("what costs credits", g.api, "m", 503, "storage_unavailable")
	asks("a free model", g.api, "free", 200, "")
	asks("an own key", own, "m", 200, "")
	asks("a wrong key", newClient(g.api.base, "pm-wrong"), "m", 401, "invalid_api_key")
	for _, path := range []string{"/health/live", "/health/ready", "/health"} {
		if resp, body := g.api.send(t, "GET", path, nil); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	if _, metrics := g.admin.send(t, "GET", "/metrics", nil); !strings.Contains(metrics, "\npointsman_disk_low 1\n") {
		t.Error("the metrics do not tell")
	}
	if _, err := os.Stat(ballast); err == nil {
		t.Error("the ballast is still there")
	}
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	until(false)
	asks("with room again", g.api, "m", 200, "")
	if _, err := os.Stat(ballast); err != nil {
		t.Error(err)
	}
}

package main

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// TestF31Gateway: whatever its machine's clock is set to, a gateway goes on: circuits open and close again in their time, limits
// count minutes that pass, and nothing stays held. The log has every request, unless the clock says that it is too old to be kept.
func TestF31Gateway(t *testing.T) {
	const year = 365 * 24 * time.Hour
	sets, requests := 0, 0
	for name, some := range map[string][]time.Duration{"hours": {time.Hour, -time.Hour, 26 * time.Hour, -26 * time.Hour}, "years": {10 * year, -10 * year}} {
		t.Run(name, func(t *testing.T) {
			c := missetGateway{clock: storagetest.NewClock()}
			c.up, c.testGateway = misset(t, c.clock)
			for _, set := range some {
				c.turn(t, set)
				sets += 2
			}
			requests += len(c.ids)
			if name == "hours" {
				c.sound(c.ids...)
			}
			if held := c.api.balanceHeld(t); held != "0" {
				t.Errorf("%s credits are held", held)
			}
		})
	}
	figure(t, "a gateway whose clock was set %d times, by up to ten years: circuits open for 2 s, limits of a minute, %d requests settled", sets, requests)
}

// missetGateway is a gateway with a clock that is set.
type missetGateway struct {
	*testGateway
	clock *storagetest.Clock
	up    *scripted.Server
	ids   []string
}

func misset(t *testing.T, clock *storagetest.Clock) (*scripted.Server, *testGateway) {
	t.Helper()
	up, toml := upstreams(t, 1)
	toml = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n" + toml + "[health]\nprobe = \"off\"\n[retries]\nattempts = 1\n[limits.keys]\nrequests_per_minute = 30\n"
	cfg, err := config.Parse("", []byte(toml), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return up[0], startGatewayAt(t, cfg, filepath.Join(t.TempDir(), "data"), clock.Now)
}

// send sends a request and returns what the client is told to wait.
func (c *missetGateway) send(t *testing.T, want int) (retryAfter int) {
	t.Helper()
	resp, body := c.api.post(t, chatPath, ask("m"))
	if resp.StatusCode != want {
		t.Fatalf("%d, want %d: %s", resp.StatusCode, want, body)
	}
	if want != 429 {
		c.ids = append(c.ids, resp.Header.Get("X-Request-Id"))
	}
	retryAfter, _ = strconv.Atoi(resp.Header.Get("Retry-After"))
	return retryAfter
}

// turn opens a circuit and sets the clock, uses a limit up and sets the clock right again: both must end in their time.
func (c *missetGateway) turn(t *testing.T, set time.Duration) {
	t.Helper()
	c.up.Script(failing(500))
	for range 5 {
		c.send(t, 502)
	}
	c.clock.Set(set)
	if wait := c.send(t, 503); wait < 1 || wait > 3 {
		t.Errorf("set by %v: a circuit that is open for 2 s: the client is told to wait %d s", set, wait)
	}
	c.up.Script(nil)
	c.clock.Pass(3 * time.Second)
	for range 30 - 5 - 1 {
		c.send(t, 200)
	}
	c.clock.Set(0)
	if wait := c.send(t, 429); wait < 1 || wait > 60 {
		t.Errorf("set by %v: a limit of a minute: the client is told to wait %d s", set, wait)
	}
	c.clock.Pass(61 * time.Second)
}

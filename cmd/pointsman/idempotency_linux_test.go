package main

import (
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// TestL9Kill kills the gateway while a request with a key is being answered, and after one was answered: the first runs anew, the second
// is replayed, and each is charged once.
func TestL9Kill(t *testing.T) {
	t.Parallel()
	k := newKilling(t)
	up, toml := upstreams(t, 1)
	held := make(chan struct{}, 1)
	hold := atomic.Bool{}
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		if hold.Load() {
			held <- struct{}{}
			reply.HoldBeforeHeaders = time.Minute
		}
		return reply
	})
	toml = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[accounts]\ndefault_credits = 0.01\n" + toml
	if err := os.WriteFile(k.config, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	k.run()
	ask := func(key string) (*http.Response, string, error) {
		resp, err := newClient(k.api, k.keys["rich"]).unread(chatPath, ask("m"), keyedBy(key))
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp, string(text), err
	}
	_, made, err := ask("whole")
	if err != nil {
		t.Fatal(err)
	}
	hold.Store(true)
	cut := make(chan error, 1)
	go func() {
		_, _, err := ask("cut")
		cut <- err
	}()
	<-held
	k.kill()
	if err := <-cut; err == nil {
		t.Error("the request that was killed was answered")
	}
	hold.Store(false)
	k.run()
	if resp, text, err := ask("whole"); err != nil || text != made || resp.Header.Get("X-Pointsman-Idempotent") != "replayed" {
		t.Errorf("after the kill: %v %s, %v", resp, text, err)
	}
	for _, want := range []string{"", "replayed"} {
		if resp, text, err := ask("cut"); err != nil || resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Idempotent") != want {
			t.Errorf("after the kill, of what it interrupted: %v %s, %v", resp, text, err)
		}
	}
	if n := up[0].Count(); n != 3 {
		t.Errorf("the provider was asked %d times", n)
	}
	b := newClient(k.api, k.keys["rich"]).balance(t)
	if b != "1000.00988" { // 1000.01 less two charges of 0.00006
		t.Errorf("balance %s", b)
	}
	k.kill() // and its ledger proves
}

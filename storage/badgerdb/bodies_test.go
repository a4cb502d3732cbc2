package badgerdb

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

func openBodies(t *testing.T, config BodiesConfig) *Bodies {
	t.Helper()
	if config.Redact == nil {
		config.Redact = func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("secret"), []byte("gone")) }
	}
	b, err := OpenBodies(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// TestBodies: a body is found by both its ids, over restarts, without what was to be redacted.
func TestBodies(t *testing.T) {
	config := BodiesConfig{Dir: t.TempDir(), MaxMB: 64, Retain: 24 * time.Hour}
	b := openBodies(t, config)
	body := storage.Body{Request: storagetest.NewRequest(), ClientID: "mine", Account: "a", Sent: []byte(`a secret`), Answered: bytes.Repeat([]byte("x"), 256<<10)}
	b.Append(body)
	b.Close()
	b = openBodies(t, config)
	for _, id := range []string{body.Request.String(), "mine"} {
		got, err := b.Find(id)
		if err != nil || string(got.Sent) != "a gone" || !bytes.Equal(got.Answered, body.Answered) || got.Account != "a" {
			t.Errorf("%s: %.100q, %v", id, got.Sent, err)
		}
	}
	if _, err := b.Find("other"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a body that is not there gave %v", err)
	}
}

// TestBodiesQuota: the oldest bodies go by size and by age, the newest stay.
func TestBodiesQuota(t *testing.T) {
	now := time.Now()
	clock := startClock(now)
	config := BodiesConfig{Dir: t.TempDir(), MaxMB: 64, Retain: 24 * time.Hour, Clock: clock.now}
	b := openBodies(t, config)
	noise := make([]byte, 200<<10)
	for i := range 1000 { // 200 MB in a minute
		rand.Read(noise)
		b.Append(storage.Body{Request: storagetest.NewRequest(), ClientID: fmt.Sprint("body-", i), Account: "a", Sent: bytes.Clone(noise)})
		for len(b.queue) > 100 {
			time.Sleep(time.Millisecond)
		}
		clock.set(now.Add(time.Duration(i) * 60 * time.Millisecond))
	}
	b.Close()
	if b.Dropped() > 0 {
		t.Fatalf("%d bodies were dropped", b.Dropped())
	}
	b = openBodies(t, config)
	if size := tableBytes(config.Dir, "bodies"); size > 100<<20 {
		t.Errorf("the bodies take %d MiB", size>>20)
	}
	if _, err := b.Find("body-999"); err != nil {
		t.Errorf("the newest body: %v", err)
	}
	if _, err := b.Find("body-0"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the oldest body: %v", err)
	}
	b.Close()
	clock.set(now.Add(48 * time.Hour))
	b = openBodies(t, config)
	b.Append(storage.Body{Request: storagetest.NewRequest(), ClientID: "later", Account: "a", Sent: []byte("x")})
	b.Close()
	b = openBodies(t, config)
	if _, err := b.Find("body-999"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a body of two days ago: %v", err)
	}
	if _, err := b.Find("later"); err != nil {
		t.Errorf("the newest body: %v", err)
	}
}

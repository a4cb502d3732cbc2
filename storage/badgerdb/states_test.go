package badgerdb

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// TestStates: states are found by number and the newest of each policy also after a restart, and when its period is gone.
func TestStates(t *testing.T) {
	now := time.Now()
	config := Config{Dir: t.TempDir(), Clock: func() time.Time { return now }, Retain: 24 * time.Hour}
	l, err := OpenLog(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.State("bandit", 0); !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	content := func(policy string, n uint64) []byte { return bytes.Repeat(fmt.Appendf(nil, "%s%d ", policy, n), 50) }
	for n := uint64(1); n <= 3; n++ {
		for _, policy := range []string{"bandit", "bandit2"} {
			data := content(policy, n)
			l.AppendState(policy, n, data)
			clear(data) // it is copied
		}
	}
	l.AppendState("empty", 9, nil)
	check := func(policy string, ask, want uint64) {
		t.Helper()
		found, data, err := l.State(policy, ask)
		if err != nil || found != want || !bytes.Equal(data, content(policy, want)) {
			t.Fatalf("%s state %d: %d %q, %v", policy, ask, found, data, err)
		}
	}
	check("bandit", 2, 2)
	check("bandit2", 0, 3)
	if found, data, err := l.State("empty", 0); found != 9 || len(data) != 0 || err != nil {
		t.Fatal(found, data, err)
	}
	if _, _, err := l.State("bandit", 4); !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	now = now.Add(48 * time.Hour)
	l.tidy()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = OpenLog(config); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	check("bandit", 0, 3)
	if _, _, err := l.State("bandit", 2); !errors.Is(err, storage.ErrNotFound) {
		t.Fatal("an old state outlived its period:", err)
	}
}
